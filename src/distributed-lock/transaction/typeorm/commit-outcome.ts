import {
  QueryFailedError,
  QueryRunnerAlreadyReleasedError,
  QueryRunnerProviderAlreadyReleasedError,
} from 'typeorm';

/**
 * What a COMMIT that did not go through left behind.
 *
 * - `rolled-back`: the database said so, or never saw the COMMIT
 * - `unknown`: it may be committed
 */
export type CommitFailure = 'rolled-back' | 'unknown';

/**
 * SQLSTATE classes with which a database says "this transaction is not committed": data exception, constraint, invalid
 * transaction state, rollback, access rule, resources, limits, state, PL/pgSQL. Everything else is *unknown*: class 08
 * (connection), and 57P01 too, which PostgreSQL may send after a local commit while it waits for a synchronous replica.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const DEFINITE_CLASSES = new Set(['22', '23', '25', '40', '42', '44', '53', '54', '55', 'P0']);

/** `statement_completion_unknown`, which CockroachDB uses for ambiguous commits. */
const COMPLETION_UNKNOWN = '40003';

/** @param error of the driver or of TypeORM, for the COMMIT statement. */
export function commitFailure(error: unknown): CommitFailure {
  if (isSqliteRefusal(error)) return 'rolled-back';
  const state = sqlState(error);
  if (state === undefined || state === COMPLETION_UNKNOWN) return 'unknown';
  return DEFINITE_CLASSES.has(state.slice(0, 2)) ? 'rolled-back' : 'unknown';
}

/** InnoDB has rolled the whole transaction back, whatever the method does with the error. */
export function isInnoDbDeadlock(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'errno' in error && error.errno === 1213;
}

/** PostgreSQL refuses every statement after the one that failed; the failed one is the interesting one. */
export function isConsequentialError(error: unknown): boolean {
  return sqlState(error) === '25P02';
}

/** idle_in_transaction_session_timeout. */
const IDLE_TOO_LONG = '25P03';

/** Whether an error of a statement says no more than that its connection is gone. */
export function isDisconnect(error: unknown): boolean {
  if (
    error instanceof QueryRunnerAlreadyReleasedError ||
    error instanceof QueryRunnerProviderAlreadyReleasedError
  )
    return true;
  if (!(error instanceof QueryFailedError) || sqliteCode(error) !== undefined) return false;
  const state = sqlState(error);
  return state === undefined || /^(?:08|57P)/.test(state) || state === IDLE_TOO_LONG;
}

/**
 * A COMMIT that SQLite refuses (busy, a deferred constraint) leaves the transaction open, and other errors roll it back; after one of the
 * file system the file may be in either state.
 *
 * @see https://www.sqlite.org/lang_transaction.html
 */
function isSqliteRefusal(error: unknown): boolean {
  const code = sqliteCode(error);
  return code !== undefined && !code.startsWith('SQLITE_IOERR');
}

function sqliteCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined;
}

function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  // mysql2 says `sqlState`, and something else in `code`.
  for (const name of ['sqlState', 'code'] as const) {
    const value = (error as Record<string, unknown>)[name];
    if (typeof value === 'string' && /^[0-9A-Z]{5}$/.test(value)) return value;
  }
  return undefined;
}
