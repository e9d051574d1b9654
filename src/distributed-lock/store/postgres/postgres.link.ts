import type { Client, QueryResultRow } from 'pg';
import type { LockKey } from '../../key/lock-key.js';
import type {
  GiveBackOutcome,
  GiveBackRow,
  LinkListener,
  LockId,
  PassOutcome,
  PassRow,
  SessionLink,
  TakeOutcome,
  TakeRow,
} from '../session-link.js';
import { checkServer, tokenSequence } from './postgres.boot.js';
import { channelOf, lockId } from './postgres.lock-id.js';
import { GIVE_BACK, PASS, PREPARE_SESSION, TAKE, UNDO_TAKE } from './postgres.statements.js';

export interface PostgresSettings {
  newClient(): Client | Promise<Client>;
  readonly sessionTimeoutMs: number;
  /** Tell waiting sessions of a release. */
  readonly push: boolean;
  readonly sequence: string;
  readonly createSequence: boolean;
  /** A pooler is in between that gives this client one server connection for as long as it is connected. */
  readonly sessionPooler: boolean;
  /** For tests of colliding keys. Default `lockId`. */
  readonly idOf?: typeof lockId;
}

/** One PostgreSQL connection whose session advisory locks are the locks. */
export class PostgresLink implements SessionLink {
  #client: Client | null = null;
  #destroyed = false;
  #sequence = { oid: '', name: '' };
  #channel: string | null = null;

  constructor(
    private readonly namespace: string,
    private readonly settings: PostgresSettings,
    private readonly listener: LinkListener,
  ) {}

  async connect(): Promise<void> {
    const client = await this.settings.newClient();
    this.#client = client;
    client.on('error', (error) => this.listener.ended(error.message));
    client.on('end', () => this.listener.ended('the connection ended'));
    if (this.#destroyed) return this.destroy();
    await client.connect();
    const pid = await checkServer(client, this.settings.sessionPooler);
    this.#sequence = await tokenSequence(client, this.settings);
    await this.#query(PREPARE_SESSION, [String(Math.ceil(this.settings.sessionTimeoutMs))]);
    if (!this.settings.push) return;
    this.#channel = channelOf(this.#sequence.name, this.namespace);
    client.on('notification', ({ processId, payload }) => {
      // One's own release is no news; and who has just passed the lock on must not be the first to take it again.
      if (processId !== pid && payload !== undefined) this.listener.woken(payload);
    });
    await this.#query(`LISTEN ${this.#channel}`);
  }

  idOf(key: LockKey): LockId {
    return (this.settings.idOf ?? lockId)(this.#sequence.name, this.namespace, key);
  }

  async take(rows: readonly TakeRow[]): Promise<readonly TakeOutcome[]> {
    const ids = idsOf(rows);
    const marks = rows.map(({ wait, marked }) => wait && !marked);
    try {
      const answers = await this.#query<{ outcome: string }>(TAKE, [
        ...ids,
        marks,
        this.#sequence.oid,
      ]);
      return answers.map(({ outcome }, index) => ({
        turn: /\d$/.test(outcome) ? BigInt(outcome.replace('+', '')) : null,
        marked: rows[index]!.marked || outcome.startsWith('+'),
      }));
    } catch (error) {
      await this.#query(UNDO_TAKE, [...ids, marks]).catch(() => this.destroy());
      throw error;
    }
  }

  async pass(row: PassRow): Promise<PassOutcome> {
    const { id, mustPass, marked } = row;
    const values = [id.lock, id.wait, mustPass, marked, this.#channel, this.#sequence.oid];
    for (;;) {
      const [answer] = await this.#query<{ outcome: string | null }>(PASS, values);
      const outcome = answer?.outcome ?? 'again';
      if (/^\d/.test(outcome)) return { turn: BigInt(outcome), marked };
      if (outcome === 'passed') return { turn: null, marked: true };
      if (outcome !== 'again') throw new Error('the lock was no longer held by the session');
    }
  }

  async giveBack(rows: readonly GiveBackRow[]): Promise<readonly GiveBackOutcome[]> {
    const unlock = rows.map((row) => row.unlock);
    const unmark = rows.map((row) => row.unmark);
    const values = [...idsOf(rows), unlock, unmark, this.#channel];
    const answers = await this.#query<{ outcome: string | null }>(GIVE_BACK, values);
    return answers.map(({ outcome }) => ({
      held: outcome === 'free' || outcome === 'woke',
      woke: outcome === 'woke',
    }));
  }

  async ping(): Promise<void> {
    await this.#query('SELECT 1');
  }

  async end(): Promise<void> {
    await this.#client?.end();
  }

  destroy(): void {
    this.#destroyed = true;
    // `end` says goodbye and waits for an answer that may never come.
    const { connection } =
      (this.#client as unknown as {
        connection?: { stream?: { destroy(): void } };
      }) ?? {};
    connection?.stream?.destroy();
  }

  async #query<Row extends QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    if (!this.#client || this.#destroyed) throw new Error('the connection was dropped');
    return (await this.#client.query<Row>(text, [...values])).rows;
  }
}

function idsOf(rows: readonly { readonly id: LockId }[]): [string[], string[]] {
  return [rows.map(({ id }) => id.lock), rows.map(({ id }) => id.wait)];
}
