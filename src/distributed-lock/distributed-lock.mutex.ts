import { LockNotHeldError } from './distributed-lock.errors.js';
import type { LockOptions } from './distributed-lock.options.js';
import type { DistributedLockService, KeyOrKeys } from './distributed-lock.service.js';
import type { Hold } from './lock/hold.js';

/**
 * A lock as an object that remembers what it holds, for those who come from `LockRegistry` or Curator. Made by
 * {@link DistributedLockService.mutex}; costs nothing until it is used.
 *
 * Its holder is the object, as a thread is Java's. Whoever shares the object shares the hold: a second `acquire` on it waits like any other
 * caller, and `release` ends what the object holds, whoever acquired it. Make one per caller, or use {@link runExclusive}.
 */
export class LockMutex {
  /** Several only where the lock lets several in. */
  #holds: readonly Hold[] = [];

  constructor(
    private readonly locks: DistributedLockService,
    /** As it was given. */
    readonly key: KeyOrKeys,
    private readonly options: LockOptions,
  ) {}

  /**
   * Waits for the lock, at most for the wait time.
   *
   * @throws {LockWaitTimeoutError} if another owner kept the key for the wait time.
   */
  async acquire(): Promise<Hold> {
    return this.#keep(await this.locks.acquire(this.key, this.options));
  }

  /** Tries once, whatever the wait time. @returns `null` if another owner has the key; a store that cannot answer rejects. */
  async tryAcquire(): Promise<Hold | null> {
    const { waitTime: _never, ...options } = this.options;
    const hold = await this.locks.tryAcquire(this.key, options);
    return hold && this.#keep(hold);
  }

  /**
   * Gives back what was acquired last.
   *
   * @throws {LockNotHeldError} if this object holds nothing; nobody else's hold is touched
   * @throws {LockLostError} if the hold was lost meanwhile: somebody else may have been in
   * @throws {LockStoreUnavailableError} if the store cannot be told now; it is told again in the background
   */
  async release(): Promise<void> {
    const hold = this.#holds.at(-1);
    if (hold === undefined) {
      const detail = 'is not held by this mutex: it was not acquired, or was released already';
      throw new LockNotHeldError(String(this.key), { methodRan: false, committed: false }, detail);
    }
    this.#holds = this.#holds.filter((it) => it !== hold);
    hold.assertHeld();
    await hold.release();
  }

  /** Whether this object holds the lock. Reads the clock; does not ask the store. */
  isHeld(): boolean {
    return this.#holds.some((hold) => hold.isHeld());
  }

  /** Runs `work` under the lock and releases on every path; see {@link DistributedLockService.withLock}. */
  runExclusive<T>(work: (hold: Hold) => Promise<T>): Promise<T> {
    return this.locks.withLock(this.key, this.options, async (hold) => {
      this.#keep(hold);
      try {
        return await work(hold);
      } finally {
        this.#holds = this.#holds.filter((it) => it !== hold);
      }
    });
  }

  /** What has ended without `release`, by itself or by a loss, is forgotten. */
  #keep(hold: Hold): Hold {
    this.#holds = [...this.#holds.filter((it) => it.isHeld()), hold];
    return hold;
  }
}
