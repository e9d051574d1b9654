import { LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';

/** Why nobody could say whether a key is busy: a sentence, or the last error. */
export type Trouble = string | LockStoreUnavailableError;

/** @returns what a call is told whose wait time was over before the store had answered. */
export function unavailable(
  store: string,
  key: LockKey,
  trouble: Trouble,
): LockStoreUnavailableError {
  const [detail, cause] =
    typeof trouble === 'string' ? [trouble, undefined] : [trouble.detail, trouble];
  return new LockStoreUnavailableError(store, key, detail, { cause });
}
