import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';

/** Codes of PostgreSQL, MySQL/MariaDB and SQLite that a retry cannot change: permissions, names, read-only servers. */
const CONFIGURATION =
  /^(28...|3D000|3F000|42...|25006|ER_(ACCESS_DENIED|BAD_DB|BAD_FIELD|DBACCESS_DENIED|PARSE)_ERROR|ER_TABLEACCESS_DENIED_ERROR|ER_NO_SUCH_TABLE|ER_OPTION_PREVENTS_STATEMENT|SQLITE_(ERROR|READONLY|CANTOPEN|NOTADB|PERM).*)$/;

/** The statement met another at the wrong moment and was undone; sent again, it succeeds. */
const TRANSIENT = /^(40001|40P01|ER_LOCK_DEADLOCK|ER_LOCK_WAIT_TIMEOUT|SQLITE_(BUSY|LOCKED).*)$/;

function codeOf(error: unknown): string {
  const { driverError, code } = error as { driverError?: { code?: unknown }; code?: unknown };
  const found = driverError?.code ?? code;
  return typeof found === 'string' ? found : '';
}

export function isTransient(error: unknown): boolean {
  return TRANSIENT.test(codeOf(error));
}

/** "Busy" is an answer; everything else is sorted here into what a retry can mend and what it cannot. */
export function tableError(
  error: unknown,
  key: string | null,
): LockStoreUnavailableError | LockConfigurationError {
  if (error instanceof LockStoreUnavailableError || error instanceof LockConfigurationError) {
    return error;
  }
  const { message } = error as { message?: string };
  const detail = message || codeOf(error) || String(error);
  if (CONFIGURATION.test(codeOf(error))) {
    return new LockConfigurationError(`The database refuses the lock's statements: ${detail}`, {
      cause: error,
      ...(key !== null && { key }),
    });
  }
  return new LockStoreUnavailableError('table', key, detail, { cause: error });
}
