import { randomUUID } from 'node:crypto';
import { judge } from './commit-witness.js';
import { sqliteFailure } from './database-errors.js';
import type {
  FenceAnswer,
  FenceDialect,
  FenceEntry,
  LostCommit,
  Send,
  Witness,
} from './fence-dialect.js';

interface Row {
  readonly lock_key: string;
  readonly token: string;
  readonly nonce: string;
}

/**
 * SQLite 3.35 and later. As the first statement of its transaction it takes the write lock of the whole database at once; another
 * connection that has it means SQLITE_BUSY, and the transaction is tried again.
 */
export class SqliteFenceDialect implements FenceDialect {
  readonly name = 'sqlite';

  async enter(send: Send, entry: FenceEntry): Promise<FenceAnswer> {
    const rows = await this.#upsert(
      send,
      entry,
      entry.nonce,
      `DO UPDATE SET nonce = CASE WHEN excluded.token >= token THEN excluded.nonce ELSE nonce END,
  updated_at = CASE WHEN excluded.token >= token THEN excluded.updated_at ELSE updated_at END,
  token = max(token, excluded.token)`,
    );
    const seen = new Map(rows.map((row) => [row.lock_key, BigInt(row.token)]));
    const stale = entry.keys.flatMap(({ name, token }) => {
      const seenToken = seen.get(name);
      return seenToken !== undefined && seenToken > token ? [{ name, seenToken }] : [];
    });
    return { stale };
  }

  async witness(send: Send, lost: LostCommit): Promise<Witness> {
    const probe = randomUUID();
    const rows = await this.#upsert(send, lost, probe, 'DO UPDATE SET lock_key = lock_key');
    const [key] = lost.keys;
    const row = rows.find(({ lock_key }) => lock_key === key?.name);
    if (key === undefined || row === undefined) return 'unknown';
    const { nonce, token } = row;
    return judge(
      { token: BigInt(token), nonce, previous: null, keepsPrevious: false },
      probe,
      lost,
      key.token,
    );
  }

  failureOf = sqliteFailure;

  ddl(table: string): readonly string[] {
    return [
      `CREATE TABLE IF NOT EXISTS ${table} (
  lock_key   TEXT    PRIMARY KEY,
  token      INTEGER NOT NULL,
  nonce      TEXT    NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID`,
    ];
  }

  check(table: string): string {
    return `SELECT lock_key, token, nonce, updated_at FROM ${table} WHERE 0`;
  }

  prune(table: string, olderThanMs: number): string {
    return `DELETE FROM ${table} WHERE updated_at < CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - ${Math.round(olderThanMs)}`;
  }

  /** Tokens travel as text: JavaScript has no 64 bits in a number. */
  async #upsert(
    send: Send,
    { table, keys }: FenceEntry,
    nonce: string,
    onConflict: string,
  ): Promise<readonly Row[]> {
    const clock = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`;
    const rows = keys.map(() => `(?, CAST(? AS INTEGER), ?, ${clock})`).join(', ');
    const sql = `INSERT INTO ${table} (lock_key, token, nonce, updated_at) VALUES ${rows}
ON CONFLICT (lock_key) ${onConflict}
RETURNING lock_key, CAST(token AS TEXT) AS token, nonce`;
    const parameters = keys.flatMap(({ name, token }) => [name, String(token), nonce]);
    return (await send(sql, parameters)) as Row[];
  }
}
