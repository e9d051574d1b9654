import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';

/** SQLSTATEs that a retry cannot change (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
const CONFIGURATION = [
  /^28/, // the user or password is refused
  /^3D000$/, // no such database
  /^3F000$/, // no such schema
  /^42/, // permission, syntax, names: the sequence is gone, or may not be used
];

/** "Busy" is an answer; everything else is sorted here into what a retry can mend and what it cannot. */
export function postgresError(error: unknown): LockStoreUnavailableError | LockConfigurationError {
  if (error instanceof LockStoreUnavailableError || error instanceof LockConfigurationError) {
    return error;
  }
  if (typeof error === 'string') return new LockStoreUnavailableError('postgres', null, error);
  const { code, message } = error as { code?: unknown; message?: string };
  const text = message || String(error); // ECONNREFUSED on several addresses has no message
  const detail = error instanceof AggregateError ? error.errors.map(String).join('; ') : text;
  if (typeof code === 'string' && CONFIGURATION.some((pattern) => pattern.test(code))) {
    return new LockConfigurationError(`PostgreSQL refuses the lock's commands: ${detail}`, {
      cause: error,
    });
  }
  return new LockStoreUnavailableError('postgres', null, detail, { cause: error });
}
