import { now } from '../../distributed-lock.clock.js';
import { MAX_DURATION_MS } from '../../distributed-lock.duration.js';
import { MaxHoldExceededError } from '../../distributed-lock.errors.js';
import type { TransactionHold } from '../transaction-runner.js';

/**
 * A hold that a transaction may use for a limited time, even if it is renewed for ever: while a renewed holder is frozen, its open
 * transaction keeps its successors waiting at the fence.
 */
export class BoundedHold implements TransactionHold {
  readonly #deadline: number;

  constructor(
    private readonly hold: TransactionHold,
    private readonly maxHoldMs: number,
  ) {
    // The lease of a hold that is not renewed is its limit already.
    this.#deadline = hold.renews ? now() + maxHoldMs : Infinity;
  }

  get key(): string {
    return this.hold.key;
  }

  get method(): string {
    return this.hold.method;
  }

  get lost(): AbortSignal {
    return this.hold.lost;
  }

  get fencingTokens(): ReadonlyMap<string, bigint | null> {
    return this.hold.fencingTokens;
  }

  get renews(): boolean {
    return this.hold.renews;
  }

  remainingMs(): number {
    return this.hold.remainingMs();
  }

  confirm(): Promise<boolean | null> {
    return this.hold.confirm();
  }

  /** @throws {LockLostError | MaxHoldExceededError} */
  assertHeld(): void {
    this.hold.assertHeld();
    if (now() >= this.#deadline) throw new MaxHoldExceededError(this.key, this.maxHoldMs);
  }

  /** What the transaction may still take, in whole milliseconds, at least 1. */
  budgetMs(): number {
    const left = this.renews ? this.#deadline - now() : this.remainingMs();
    return Math.round(Math.min(Math.max(left, 1), MAX_DURATION_MS));
  }
}
