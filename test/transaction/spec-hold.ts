import {
  LockLostError,
  LockNotHeldError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { TransactionHold } from '../../src/distributed-lock/transaction/transaction-runner.js';

/** A hold that the spec loses when it wants to. */
export class SpecHold implements TransactionHold {
  readonly #lost = new AbortController();
  #released = false;
  /** How often it was asked. */
  checks = 0;
  /** Called at each check. */
  onCheck: (() => void) | undefined;

  /** What the store answers to {@link confirm}. */
  isConfirmed: boolean | null = true;
  renews = true;
  readonly method = 'Bar.checkout';
  leftMs = 30_000;

  /** @param token `null`: of a store without fencing tokens. */
  constructor(
    readonly key = 'application:42',
    token: bigint | null = null,
    readonly fencingTokens: ReadonlyMap<string, bigint | null> = new Map([[key, token]]),
  ) {}

  remainingMs(): number {
    return this.leftMs;
  }

  async confirm(): Promise<boolean | null> {
    return this.isConfirmed;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  lose(): void {
    this.#lost.abort(new LockLostError(this.key, 'expired'));
  }

  release(): void {
    this.#released = true;
  }

  assertHeld(): void {
    this.checks += 1;
    this.onCheck?.();
    if (this.lost.aborted) throw this.lost.reason;
    if (this.#released) throw new LockNotHeldError(this.key);
  }
}

/** Resolves from outside: a place where a spec stops the work until it has looked around. */
export class Gate {
  readonly #opened: Promise<void>;
  open!: () => void;

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  passed(): Promise<void> {
    return this.#opened;
  }
}

/** @returns what the promise rejects with; fails if it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('It should have rejected.');
}
