import { LockLostError, type LossReason } from './distributed-lock.errors.js';
import type { LockKey } from './key/lock-key.js';
import type { Hold } from './lock/hold.js';

/** The hold of a leader, as its callbacks see it: lost as soon as it steps down, though the key is given back only when they have ended. */
export class TermHold implements Hold {
  readonly #ended = new AbortController();

  constructor(
    private readonly hold: Hold,
    private readonly stepDown: () => void,
  ) {}

  get key(): LockKey {
    return this.hold.key;
  }

  get keys(): readonly LockKey[] {
    return this.hold.keys;
  }

  get owner(): string {
    return this.hold.owner;
  }

  get fencingToken(): bigint | null {
    return this.hold.fencingToken;
  }

  get fencingTokens(): ReadonlyMap<LockKey, bigint | null> {
    return this.hold.fencingTokens;
  }

  get lost(): AbortSignal {
    return this.#ended.signal;
  }

  isHeld(): boolean {
    return !this.lost.aborted && this.hold.isHeld();
  }

  assertHeld(): void {
    this.lost.throwIfAborted();
    this.hold.assertHeld();
  }

  renew(leaseTime?: number | string): Promise<void> {
    return this.hold.renew(leaseTime);
  }

  /** Steps down. The key is given back when the callbacks have ended. */
  async release(): Promise<'released' | 'not-held'> {
    if (!this.isHeld()) return 'not-held';
    this.stepDown();
    return 'released';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  end(reason: LossReason): void {
    this.#ended.abort(new LockLostError(this.key, reason));
  }
}
