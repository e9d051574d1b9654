import type { Connection, ResultSetHeader, RowDataPacket } from 'mysql2';
import type { LockKey } from '../../key/lock-key.js';
import type {
  GiveBackOutcome,
  GiveBackRow,
  LinkListener,
  LockId,
  PassOutcome,
  PassRow,
  TakeOutcome,
  TakeRow,
} from '../session-link.js';
import type { LockingSession, OperatedLink } from '../session.operator.js';
import { checkServer, checkTokenTable } from './mysql.boot.js';
import { isTransient } from './mysql.errors.js';
import { lockName } from './mysql.lock-name.js';
import { nextTurnSql, tokenSlot } from './mysql.token-table.js';

export interface MysqlSettings {
  newConnection(): Connection | Promise<Connection>;
  readonly sessionTimeoutMs: number;
  readonly table: string;
  readonly createTable: boolean;
  /** A proxy is in between that keeps this client on one session. */
  readonly sessionPooler: boolean;
  /** For tests of colliding keys. Default `lockName`. */
  readonly idOf?: typeof lockName;
}

const TOKEN_ATTEMPTS = 3;

/**
 * One connection of MySQL or MariaDB whose named locks are the locks. Every GET_LOCK has a timeout of zero: the connection never waits
 * inside the server.
 *
 * The mark that somebody waits is a second named lock, which one waiting session at a time can have: it is the one that looks most often, and a
 * holder that finds the mark taken passes the lock on.
 */
export class MysqlLink implements OperatedLink {
  #connection: Connection | null = null;
  #destroyed = false;
  #database = '';
  readonly #nextTurn: string;

  constructor(
    private readonly namespace: string,
    private readonly settings: MysqlSettings,
    private readonly listener: LinkListener,
  ) {
    this.#nextTurn = nextTurnSql(settings.table);
  }

  async connect(): Promise<void> {
    const connection = await this.settings.newConnection();
    this.#connection = connection;
    connection.on('error', (error: Error) => this.listener.ended(error.message));
    connection.on('end', () => this.listener.ended('the connection ended'));
    if (this.#destroyed) return this.destroy();
    await connection.promise().connect();
    this.#database = await checkServer(connection, this.settings.sessionPooler);
    // The server counts silence in whole seconds.
    const silence = Math.ceil(this.settings.sessionTimeoutMs / 1_000);
    await this.#query(
      `SET SESSION wait_timeout = ${silence}, SESSION interactive_timeout = ${silence}, SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 1`,
    );
    await checkTokenTable(connection, this.settings);
  }

  idOf(key: LockKey): LockId {
    return (this.settings.idOf ?? lockName)(this.#database, this.namespace, key);
  }

  async take(rows: readonly TakeRow[]): Promise<readonly TakeOutcome[]> {
    try {
      const answers = await this.#row(rows.map(takeSql));
      const outcomes: TakeOutcome[] = [];
      for (const [index, row] of rows.entries()) {
        // 0 busy, 1 taken, 2 busy and marked
        const answer = Number(answers[index]);
        const turn = answer === 1 ? await this.#drawTurn(row.id.lock) : null;
        outcomes.push({ turn, marked: answer === 2 });
      }
      return outcomes;
    } catch (error) {
      await this.#undo(rows);
      throw error;
    }
  }

  async pass({ id, mustPass }: PassRow): Promise<PassOutcome> {
    const othersWait = mustPass ? 'TRUE' : `IS_FREE_LOCK('${id.wait}') = 0`;
    const [freed] = await this.#row([
      `IF(${othersWait}, IFNULL(RELEASE_LOCK('${id.lock}'), 0), -1)`,
    ]);
    if (Number(freed) === -1) return { turn: await this.#drawTurn(id.lock), marked: false };
    if (Number(freed) === 1) return { turn: null, marked: false };
    throw new Error('the lock was no longer held by the session');
  }

  async giveBack(rows: readonly GiveBackRow[]): Promise<readonly GiveBackOutcome[]> {
    const answers = await this.#row(
      rows.flatMap(({ id, unlock, unmark }) => [
        unlock ? `RELEASE_LOCK('${id.lock}')` : 'NULL',
        unmark ? `RELEASE_LOCK('${id.wait}')` : 'NULL',
      ]),
    );
    return rows.map((_row, index) => ({ held: Number(answers[2 * index]) === 1, woke: false }));
  }

  /** One of those who wait has the mark; the server does not say how many there are. */
  async sessionsOf({
    lock,
  }: LockId): Promise<{ readonly having: readonly LockingSession[]; readonly waiting: null }> {
    const [session] = await this.#row([`IS_USED_LOCK('${lock}')`]);
    const having =
      session === null ? [] : [{ session: `${Number(session)}`, mode: 'exclusive' as const }];
    return { having, waiting: null };
  }

  async endOthers({ lock }: LockId): Promise<number> {
    const [other] = await this.#row([`NULLIF(IS_USED_LOCK('${lock}'), CONNECTION_ID())`]);
    if (other === null) return 0;
    try {
      await this.#query(`KILL ${Number(other)}`);
      return 1;
    } catch (error) {
      if ((error as { code?: string }).code === 'ER_NO_SUCH_THREAD') return 0; // it has ended by itself
      throw error;
    }
  }

  async ping(): Promise<void> {
    await this.#query('DO 1');
  }

  async end(): Promise<void> {
    await this.#connection?.promise().end();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#connection?.destroy();
    // `destroy` sends what is queued first, to a server that may be gone.
    const { stream } = (this.#connection as { stream?: { destroy?(): void } } | null) ?? {};
    stream?.destroy?.();
  }

  async #drawTurn(lock: string): Promise<bigint> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const { insertId } = await this.#query<ResultSetHeader>(this.#nextTurn, [tokenSlot(lock)]);
        return BigInt(insertId);
      } catch (error) {
        if (!isTransient(error) || attempt === TOKEN_ATTEMPTS) throw error;
      }
    }
  }

  /** Named locks are no part of a transaction: what was taken before an error stays taken. */
  async #undo(rows: readonly TakeRow[]): Promise<void> {
    const names = rows.flatMap(({ id, wait, marked }) =>
      wait && !marked ? [id.lock, id.wait] : [id.lock],
    );
    await this.#row(names.map((name) => `RELEASE_LOCK('${name}')`)).catch(() => this.destroy());
  }

  /** @returns the values of a SELECT without a table. */
  async #row(expressions: readonly string[]): Promise<readonly unknown[]> {
    const columns = expressions.map((expression, index) => `${expression} AS c${index}`);
    const [row] = await this.#query<RowDataPacket[]>(`SELECT ${columns.join(', ')}`);
    return expressions.map((_expression, index) => row?.[`c${index}`] as unknown);
  }

  async #query<T extends RowDataPacket[] | ResultSetHeader>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<T> {
    if (!this.#connection || this.#destroyed) throw new Error('the connection was dropped');
    try {
      const [result] = await this.#connection.promise().query<T>(sql, [...values]);
      return result;
    } catch (error) {
      // The driver tells a lost connection to the statement that was on its way, and to nobody else.
      const { fatal, message } = error as { fatal?: boolean; message: string };
      if (fatal) this.listener.ended(message);
      throw error;
    }
  }
}

function takeSql({ id, wait, marked }: TakeRow): string {
  const taken = `GET_LOCK('${id.lock}', 0) = 1`;
  // Whoever has the lock needs no mark: the next one who waits can have it.
  if (marked) return `CASE WHEN ${taken} THEN IF(RELEASE_LOCK('${id.wait}') = 1, 1, 1) ELSE 2 END`;
  if (wait) return `CASE WHEN ${taken} THEN 1 WHEN GET_LOCK('${id.wait}', 0) = 1 THEN 2 ELSE 0 END`;
  return `CASE WHEN ${taken} THEN 1 ELSE 0 END`;
}
