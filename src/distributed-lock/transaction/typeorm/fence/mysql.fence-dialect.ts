import { randomUUID } from 'node:crypto';
import { judge } from './commit-witness.js';
import { mysqlFailure } from './database-errors.js';
import type {
  FenceAnswer,
  FenceDialect,
  FenceEntry,
  LostCommit,
  Send,
  Witness,
} from './fence-dialect.js';

interface Row {
  readonly lock_key: Buffer | string;
  readonly token: string;
  readonly nonce: string;
  readonly prev_token: string | null;
  readonly prev_nonce: string | null;
}

const COLUMNS =
  'lock_key, CAST(token AS CHAR) AS token, LOWER(HEX(nonce)) AS nonce, ' +
  'CAST(prev_token AS CHAR) AS prev_token, LOWER(HEX(prev_nonce)) AS prev_nonce';

/**
 * Assignments run from left to right, each sees those before it. `VALUES(…)` is what the statement wanted to insert. A higher token
 * keeps what it finds in `prev_…`, for the witness; a lower one changes nothing.
 */
const UPSERT = `ON DUPLICATE KEY UPDATE
  prev_nonce = IF(VALUES(token) > token, nonce, prev_nonce),
  prev_token = IF(VALUES(token) > token, token, prev_token),
  nonce = IF(VALUES(token) >= token, VALUES(nonce), nonce),
  token = GREATEST(token, VALUES(token))`;

/** Takes the lock of the row, or of its absence, and changes nothing that is there. */
const TOUCH = 'ON DUPLICATE KEY UPDATE lock_key = VALUES(lock_key)';

/** What MariaDB and MySQL have in common. Only text that both read; what came of it is read, never counted (`affectedRows` is ambiguous). */
abstract class InnoDbFenceDialect implements FenceDialect {
  abstract readonly name: string;

  /** Sends the upsert and gives the rows as they are then, under their locks. */
  protected abstract upsert(
    send: Send,
    entry: FenceEntry,
    nonce: string,
    onDuplicate: string,
  ): Promise<readonly Row[]>;

  async enter(send: Send, entry: FenceEntry): Promise<FenceAnswer> {
    const rows = await this.upsert(send, entry, entry.nonce, UPSERT);
    const seen = new Map(rows.map((row) => [String(row.lock_key), BigInt(row.token)]));
    const stale = entry.keys.flatMap(({ name, token }) => {
      const seenToken = seen.get(name);
      return seenToken !== undefined && seenToken > token ? [{ name, seenToken }] : [];
    });
    return { stale };
  }

  async witness(send: Send, lost: LostCommit): Promise<Witness> {
    const probe = randomUUID();
    const rows = await this.upsert(send, lost, probe, TOUCH);
    for (const { name, token } of lost.keys) {
      const row = rows.find(({ lock_key }) => String(lock_key) === name);
      if (row === undefined) continue;
      const verdict = judge(
        {
          token: BigInt(row.token),
          nonce: uuid(row.nonce),
          previous:
            row.prev_token === null || row.prev_nonce === null
              ? null
              : { token: BigInt(row.prev_token), nonce: uuid(row.prev_nonce) },
          keepsPrevious: true,
        },
        probe,
        lost,
        token,
      );
      if (verdict !== 'unknown') return verdict;
    }
    return 'unknown';
  }

  failureOf = mysqlFailure;

  /** Bytes, not characters: a collation would make `Order:1` and `order:1` one row. */
  ddl(table: string): readonly string[] {
    return [
      `CREATE TABLE IF NOT EXISTS ${table} (
  lock_key   VARBINARY(1200)  NOT NULL PRIMARY KEY,
  token      BIGINT UNSIGNED NOT NULL,
  nonce      BINARY(16)      NOT NULL,
  prev_token BIGINT UNSIGNED NULL,
  prev_nonce BINARY(16)      NULL,
  updated_at TIMESTAMP(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
) ENGINE = InnoDB`,
    ];
  }

  check(table: string): string {
    return `SELECT lock_key, token, nonce, prev_token, prev_nonce, updated_at FROM ${table} WHERE 1 = 0`;
  }

  prune(table: string, olderThanMs: number): string {
    const micros = Math.round(olderThanMs * 1_000);
    return `DELETE FROM ${table} WHERE updated_at < CURRENT_TIMESTAMP(6) - INTERVAL ${micros} MICROSECOND`;
  }
}

/** MariaDB 10.5 and later: one statement. */
export class MariaDbFenceDialect extends InnoDbFenceDialect {
  readonly name = 'mariadb';

  protected async upsert(
    send: Send,
    entry: FenceEntry,
    nonce: string,
    onDuplicate: string,
  ): Promise<readonly Row[]> {
    const { sql, parameters } = insert(entry, nonce);
    // Ends with the statement: nothing stays in the pooled session.
    const wait = `SET STATEMENT innodb_lock_wait_timeout = ${seconds(entry.budgetMs)} FOR`;
    return (await send(`${wait} ${sql} ${onDuplicate} RETURNING ${COLUMNS}`, parameters)) as Row[];
  }
}

/** MySQL 8: two statements, because it has no RETURNING. Works on MariaDB too, whose servers the driver `mysql` may speak to. */
export class MySqlFenceDialect extends InnoDbFenceDialect {
  readonly name = 'mysql';

  protected async upsert(
    send: Send,
    entry: FenceEntry,
    nonce: string,
    onDuplicate: string,
  ): Promise<readonly Row[]> {
    const { sql, parameters } = insert(entry, nonce);
    const wait = `innodb_lock_wait_timeout = ${seconds(entry.budgetMs)}`;
    // To MySQL the first is a comment and the second a hint; to MariaDB the first is text and the second a comment.
    const insertInTime = `/*M!100100 SET STATEMENT ${wait} FOR */ INSERT /*+ SET_VAR(${wait}) */`;
    await send(`${sql.replace('INSERT', insertInTime)} ${onDuplicate}`, parameters);
    const names = entry.keys.map(({ name }) => Buffer.from(name));
    const holes = names.map(() => '?').join(', ');
    // A locking read: a plain one would answer from the snapshot, and take one before its time.
    return (await send(
      `SELECT ${COLUMNS} FROM ${entry.table} WHERE lock_key IN (${holes}) FOR UPDATE`,
      names,
    )) as Row[];
  }
}

function insert(entry: FenceEntry, nonce: string): { sql: string; parameters: unknown[] } {
  const rows = entry.keys.map(() => '(?, ?, ?)').join(', ');
  const bytes = Buffer.from(nonce.replaceAll('-', ''), 'hex');
  return {
    sql: `INSERT INTO ${entry.table} (lock_key, token, nonce) VALUES ${rows}`,
    parameters: entry.keys.flatMap(({ name, token }) => [Buffer.from(name), String(token), bytes]),
  };
}

/** `innodb_lock_wait_timeout` counts whole seconds, at least one. */
function seconds(ms: number): number {
  return Math.max(Math.ceil(ms / 1_000), 1);
}

function uuid(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
