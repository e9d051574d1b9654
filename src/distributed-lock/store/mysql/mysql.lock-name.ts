import { createHash } from 'node:crypto';
import type { LockId } from '../session-link.js';

/**
 * Names of GET_LOCK: at most 64 characters, and lower case, because MySQL folds case and MariaDB does not. Hence a hash: `dl:` and
 * `dw:` with 60 hexadecimal digits of a SHA-256 over all that tells two locks apart. The names are the server's, not the database's, so
 * the database is in the hash; folded, because on some systems its own name is.
 *
 * (https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html)
 */
export function lockName(database: string, namespace: string, key: string): LockId {
  const hash = createHash('sha256').update(`${database.toLowerCase()}\0${namespace}\0${key}`);
  const digits = hash.digest('hex').slice(0, 60);
  return { lock: `dl:${digits}`, wait: `dw:${digits}` };
}
