import type { FenceFailure } from './fence-dialect.js';

/** `code` (SQLSTATE of PostgreSQL, names of SQLite) and `errno` (MySQL, MariaDB) of a driver's error. */
export interface DatabaseError {
  readonly code?: string;
  readonly errno?: number;
}

/** How many `cause`s deep a driver's error is looked for. */
const CAUSES = 5;

/** The driver's error inside an error of TypeORM, or inside what a method made of it (`cause`). */
export function databaseErrors(error: unknown): DatabaseError[] {
  const found: DatabaseError[] = [];
  let current = error;
  for (
    let depth = 0;
    depth < CAUSES && typeof current === 'object' && current !== null;
    depth += 1
  ) {
    const { code, errno, driverError, cause } = current as Record<string, unknown>;
    if (typeof code === 'string' || typeof errno === 'number') {
      found.push({
        ...(typeof code === 'string' && { code }),
        ...(typeof errno === 'number' && { errno }),
      });
    }
    current = driverError ?? cause;
  }
  return found;
}

/** serialization_failure, deadlock_detected: https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html */
const GAVE_UP = new Set(['40001', '40P01']);
/** ER_LOCK_DEADLOCK, ER_CHECKREAD (MariaDB with innodb_snapshot_isolation). */
const GAVE_UP_ERRNO = new Set([1213, 1020]);
/** ER_LOCK_WAIT_TIMEOUT: InnoDB has rolled back the statement only, the method's own waits included. */
const LOCK_WAIT_TIMEOUT_ERRNO = 1205;

/** Whether the database gave the transaction up, so that the same work may succeed when it is done again. */
export function gaveUp(error: unknown): boolean {
  return databaseErrors(error).some(
    ({ code, errno }) =>
      (code !== undefined && (GAVE_UP.has(code) || code.startsWith('SQLITE_BUSY'))) ||
      (errno !== undefined && (GAVE_UP_ERRNO.has(errno) || errno === LOCK_WAIT_TIMEOUT_ERRNO)),
  );
}

/** undefined_table, undefined_column, invalid_schema_name. */
const PG_MISSING = new Set(['42P01', '42703', '3F000']);
/** lock_not_available (`lock_timeout`), query_canceled (`statement_timeout`). */
const PG_WAIT = new Set(['55P03', '57014']);

export function postgresFailure(error: unknown): FenceFailure {
  for (const { code = '' } of databaseErrors(error)) {
    if (PG_MISSING.has(code)) return 'table-missing';
    if (PG_WAIT.has(code)) return 'wait-timeout';
    if (GAVE_UP.has(code)) return 'gave-up';
  }
  return 'other';
}

/** ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR. */
const MYSQL_MISSING = new Set([1146, 1054]);

export function mysqlFailure(error: unknown): FenceFailure {
  for (const { errno = 0 } of databaseErrors(error)) {
    if (MYSQL_MISSING.has(errno)) return 'table-missing';
    if (errno === LOCK_WAIT_TIMEOUT_ERRNO) return 'wait-timeout';
    if (GAVE_UP_ERRNO.has(errno)) return 'gave-up';
  }
  return 'other';
}

/** SQLite has one code for everything that is wrong with a statement, and says what in the text. */
export function sqliteFailure(error: unknown): FenceFailure {
  if (databaseErrors(error).some(({ code }) => code?.startsWith('SQLITE_BUSY'))) return 'gave-up';
  const message = error instanceof Error ? error.message : String(error);
  return /no such (?:table|column)/.test(message) ? 'table-missing' : 'other';
}
