import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';

/** Errors that a retry cannot change: permissions, names, the set-up. */
const CONFIGURATION = new Set([
  'ER_ACCESS_DENIED_ERROR',
  'ER_BAD_DB_ERROR',
  'ER_BAD_FIELD_ERROR',
  'ER_DBACCESS_DENIED_ERROR',
  'ER_KILL_DENIED_ERROR',
  'ER_NO_SUCH_TABLE',
  'ER_NOT_SUPPORTED_AUTH_MODE',
  'ER_OPTION_PREVENTS_STATEMENT', // became read-only
  'ER_PARSE_ERROR',
  'ER_SP_DOES_NOT_EXIST',
  'ER_TABLEACCESS_DENIED_ERROR',
]);

/** "Busy" is an answer; everything else is sorted here into what a retry can mend and what it cannot. */
export function mysqlError(error: unknown): LockStoreUnavailableError | LockConfigurationError {
  if (error instanceof LockStoreUnavailableError || error instanceof LockConfigurationError) {
    return error;
  }
  if (typeof error === 'string') return new LockStoreUnavailableError('mysql', null, error);
  const { code, message } = error as { code?: string; message?: string };
  const text = message || code || String(error);
  if (code !== undefined && CONFIGURATION.has(code)) {
    return new LockConfigurationError(`The server refuses the lock's commands: ${text}`, {
      cause: error,
    });
  }
  return new LockStoreUnavailableError('mysql', null, text, { cause: error });
}

/** InnoDB gave up a wait for a row; the statement alone was undone and may be sent again. */
export function isTransient(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'ER_LOCK_DEADLOCK' || code === 'ER_LOCK_WAIT_TIMEOUT';
}
