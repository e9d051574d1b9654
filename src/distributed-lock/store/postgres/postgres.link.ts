import type { Client, QueryResultRow } from 'pg';
import type { LockKey } from '../../key/lock-key.js';
import type {
  GiveBackOutcome,
  GiveBackRow,
  LinkListener,
  LockId,
  PassOutcome,
  PassRow,
  SharingLink,
  ShareOutcome,
  ShareRow,
  TakeOutcome,
  TakeRow,
} from '../session-link.js';
import type { LockingSession, OperatedLink } from '../session.operator.js';
import { checkServer, tokenSequence } from './postgres.boot.js';
import { channelOf, lockId } from './postgres.lock-id.js';
import { END_OTHERS, SESSIONS_OF } from './postgres.operator.js';
import {
  GIVE_BACK,
  PASS,
  PREPARE_SESSION,
  SHARE,
  TAKE,
  UNDO_SHARE,
  UNDO_TAKE,
} from './postgres.statements.js';

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
export class PostgresLink implements SharingLink, OperatedLink {
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
    try {
      const answers = await this.#query<{ outcome: string }>(TAKE, [
        ...ids,
        rows.map(({ wait }) => wait),
        rows.map(({ marked }) => marked),
        rows.map(({ shared }) => shared),
        rows.map(({ gated }) => gated),
        this.#sequence.oid,
        rows.map(({ polite }) => polite),
      ]);
      return answers.map(({ outcome }, index) => {
        const { marked, gated } = rows[index]!;
        const turn = /\d$/.test(outcome) ? BigInt(outcome.replace('+', '')) : null;
        return {
          turn,
          marked: marked || outcome.startsWith('+'),
          gated: turn === null && (gated || outcome === '+g'),
          again: outcome === '+a',
        };
      });
    } catch (error) {
      const taken = rows.map(({ shared }) => !shared);
      const marks = rows.map(({ wait, marked }) => wait && !marked);
      await this.#query(UNDO_TAKE, [...ids, taken, marks]).catch(() => this.destroy());
      throw error;
    }
  }

  async share(rows: readonly ShareRow[]): Promise<readonly ShareOutcome[]> {
    const ids = idsOf(rows);
    try {
      const answers = await this.#query<{ outcome: string }>(SHARE, [
        ...ids,
        rows.map(({ wait }) => wait),
        rows.map(({ marked }) => marked),
        rows.map(({ shareMarked }) => shareMarked),
        rows.map(({ shared }) => shared),
        rows.map(({ last }) => last),
        rows.map(({ lastSharer }) => lastSharer),
      ]);
      return answers.map(({ outcome }, index) => shareOutcome(rows[index]!, outcome));
    } catch (error) {
      const taken = rows.map(({ shared }) => !shared);
      const marks = rows.map(({ wait, marked }) => wait && !marked);
      const shareMarks = rows.map(({ wait, shareMarked }) => wait && !shareMarked);
      const values = [...ids, taken, marks, shareMarks];
      await this.#query(UNDO_SHARE, values).catch(() => this.destroy());
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
    const answers = await this.#query<{ outcome: string | null }>(GIVE_BACK, [
      ...idsOf(rows),
      rows.map(({ unlock }) => unlock),
      rows.map(({ unmark }) => unmark),
      this.#channel,
      rows.map(({ shared }) => shared),
      rows.map(({ unmarkShare }) => unmarkShare),
      rows.map(({ openGate }) => openGate),
    ]);
    return answers.map(({ outcome }, index) => ({
      held: rows[index]!.unlock && (outcome === 'free' || outcome === 'woke'),
      woke: outcome === 'woke',
    }));
  }

  async sessionsOf(
    id: LockId,
  ): Promise<{ readonly having: readonly LockingSession[]; readonly waiting: number }> {
    const rows = await this.#query<{ session: string; what: 'shared' | 'exclusive' | 'waits' }>(
      SESSIONS_OF,
      [id.lock, id.wait],
    );
    const having = rows.flatMap(({ session, what }) =>
      what === 'waits' ? [] : [{ session, mode: what }],
    );
    return { having, waiting: rows.length - having.length };
  }

  async endOthers({ lock }: LockId): Promise<number> {
    const ended = await this.#query<{ ended: string }>(END_OTHERS, [lock]);
    return ended.filter((row) => row.ended === 'true').length;
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

function shareOutcome(row: ShareRow, outcome: string): ShareOutcome {
  const shares = outcome.endsWith('in');
  const marked = row.marked || /^[+-]/.test(outcome);
  const shareMarked = row.shareMarked || outcome.startsWith('+');
  return {
    shares,
    marked: marked && !(shares && row.last),
    shareMarked: shareMarked && !(shares && row.lastSharer),
  };
}
