import type { LockKey } from '../key/lock-key.js';

/**
 * One owner's possession of a lock (or of several keys, held together), from grant to release or loss.
 *
 * A hold is renewed until it is released, lost or, with `renew: false`, its lease is over.
 */
export interface Hold extends AsyncDisposable {
  /** The key; of several, the first in sorted order. */
  readonly key: LockKey;
  /** All keys, sorted. */
  readonly keys: readonly LockKey[];
  /** Id of this acquisition; random, never reused. Of several keys, that of the first. */
  readonly owner: string;
  /**
   * A number that grows with every grant of this key; `null` where the store has none.
   * A resource that refuses a token lower than one it has seen refuses evicted holders.
   */
  readonly fencingToken: bigint | null;
  /** The fencing token of each key. */
  readonly fencingTokens: ReadonlyMap<LockKey, bigint | null>;
  /** Aborts once, with a `LockLostError` as its reason, when the hold ends without a release. */
  readonly lost: AbortSignal;
  /** Reads the clock; does not ask the store. `false` after the local deadline even if no timer has run yet. */
  isHeld(): boolean;
  /**
   * @throws {LockLostError} if the hold was lost
   * @throws {LockNotHeldError} if it was released
   */
  assertHeld(): void;
  /**
   * Makes the lease last at least this long from now. Never shortens it.
   *
   * @param leaseTime milliseconds, or `'250ms' | '10s' | '5m'`; default: the lease time it was acquired with.
   * @throws {LockLostError} if the store does not honour the hold any more
   * @throws {LockNotHeldError} after the release
   * @throws {LockStoreUnavailableError} if the store cannot answer; the hold goes on until its deadline
   */
  renew(leaseTime?: number | string): Promise<void>;
  /**
   * Gives the lock back. Idempotent: a second call answers `'not-held'` and changes nothing.
   *
   * @returns `'not-held'` if the hold was already lost or released.
   * @throws {LockStoreUnavailableError} if the store cannot be told now; it is told again in the background, and
   *   at the latest the lease ends it.
   */
  release(): Promise<'released' | 'not-held'>;
  /** Releases; never throws (a failure is reported as a `release-failed` event). */
  [Symbol.asyncDispose](): Promise<void>;
}
