import { postgresFailure } from './database-errors.js';
import type {
  FenceAnswer,
  FenceDialect,
  FenceEntry,
  LostCommit,
  Send,
  Witness,
} from './fence-dialect.js';

interface Entered {
  readonly lock_key: string;
  readonly xid: string;
}

interface Seen {
  readonly lock_key: string;
  readonly token: string;
}

interface Status {
  readonly status: 'committed' | 'aborted' | 'in progress' | null;
  readonly token: string | null;
  readonly nonce: string | null;
}

/** A limit of this transaction; never longer than what the session has already (`0` is none). Reset at its end. */
function limit(setting: string): string {
  const now = `(extract(epoch FROM current_setting('${setting}')::interval) * 1000)::bigint`;
  return `set_config('${setting}', least(nullif(${now}, 0), $4::bigint)::text, true)`;
}

/**
 * One statement. The limits are set in it, so that they bound its own wait too. A row comes back for every key whose token
 * is not lower than the row's; `<=`, because a second transaction of the same hold has the same token.
 */
function enterStatement(table: string): string {
  return `WITH limits AS MATERIALIZED (
  SELECT ${limit('lock_timeout')}, ${limit('statement_timeout')}, ${limit('idle_in_transaction_session_timeout')})
INSERT INTO ${table} AS f (lock_key, token, nonce)
SELECT k, t, $3::uuid FROM limits, unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS u(k, t, place) ORDER BY place
ON CONFLICT (lock_key) DO UPDATE SET token = EXCLUDED.token, nonce = EXCLUDED.nonce, updated_at = now()
WHERE f.token <= EXCLUDED.token
RETURNING lock_key, pg_current_xact_id()::text AS xid`;
}

/** PostgreSQL 13 and later. */
export class PostgresFenceDialect implements FenceDialect {
  readonly name = 'postgres';

  async enter(send: Send, entry: FenceEntry): Promise<FenceAnswer> {
    const names = entry.keys.map(({ name }) => name);
    const rows = (await send(enterStatement(entry.table), [
      names,
      entry.keys.map(({ token }) => String(token)),
      entry.nonce,
      Math.max(Math.round(entry.budgetMs), 1),
    ])) as Entered[];
    const [first] = rows;
    if (first !== undefined && rows.length === names.length)
      return { stale: [], transactionId: first.xid };
    return { stale: await this.#higher(send, entry, new Set(rows.map((row) => row.lock_key))) };
  }

  /** Only the refused transaction pays for being told by whom. */
  async #higher(
    send: Send,
    entry: FenceEntry,
    entered: ReadonlySet<string>,
  ): Promise<FenceAnswer['stale']> {
    const refused = entry.keys.map(({ name }) => name).filter((name) => !entered.has(name));
    const sql = `SELECT lock_key, token FROM ${entry.table} WHERE lock_key = ANY($1::text[])`;
    const rows = (await send(sql, [refused])) as Seen[];
    return rows.map(({ lock_key, token }) => ({ name: lock_key, seenToken: BigInt(token) }));
  }

  /**
   * The commit log knows. The row must not contradict it: after a failover to a replica that had not got the transaction, its number may
   * be that of another one. (A commit between the snapshot and the look at the log contradicts too; the next look does not.)
   *
   * @see https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
   */
  async witness(send: Send, { table, keys, nonce, transactionId }: LostCommit): Promise<Witness> {
    const [key] = keys;
    if (key === undefined || transactionId === undefined) return 'unknown';
    const [answer] = (await send(
      `SELECT pg_xact_status($1::text::xid8) AS status, f.token, f.nonce
  FROM (SELECT 1) AS one LEFT JOIN ${table} AS f ON f.lock_key = $2`,
      [transactionId, key.name],
    )) as Status[];
    switch (answer?.status) {
      case 'aborted':
        return 'rolled-back';
      case 'in progress':
        return 'pending';
      case 'committed': {
        if (answer.token === null) return 'pending';
        const token = BigInt(answer.token);
        if (token > key.token || answer.nonce === nonce) return 'committed';
        return token === key.token ? 'unknown' : 'pending';
      }
      default:
        return 'unknown';
    }
  }

  failureOf = postgresFailure;

  ddl(table: string): readonly string[] {
    return [
      `CREATE TABLE IF NOT EXISTS ${table} (
  lock_key   text        PRIMARY KEY,
  token      bigint      NOT NULL,
  nonce      uuid        NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50)`,
    ];
  }

  check(table: string): string {
    return `SELECT lock_key, token, nonce, updated_at FROM ${table} WHERE false`;
  }

  prune(table: string, olderThanMs: number): string {
    return `DELETE FROM ${table} WHERE updated_at < now() - interval '${Math.round(olderThanMs)} milliseconds'`;
  }
}
