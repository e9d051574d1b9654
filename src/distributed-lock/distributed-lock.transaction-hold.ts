import { now } from './distributed-lock.clock.js';
import { LockStoreUnavailableError } from './distributed-lock.errors.js';
import type { ManagedHold } from './lock/managed-hold.js';
import type { TransactionHold } from './transaction/transaction-runner.js';

/** What a transaction without a lock is told: nothing can be lost, and there is nothing to fence with. */
export function withoutHold(method: string): TransactionHold {
  return {
    key: `${method}, which runs without its lock`,
    method,
    lost: new AbortController().signal,
    fencingTokens: new Map(),
    renews: true,
    remainingMs: () => Infinity,
    assertHeld: () => undefined,
    confirm: () => Promise.resolve(true),
  };
}

/** What the transaction is told of the hold. Answers when asked: most of it is asked for only where something went wrong. */
export class HoldOfTransaction implements TransactionHold {
  constructor(
    private readonly hold: ManagedHold,
    readonly method: string,
  ) {}

  get key(): string {
    return this.hold.keys.join(', ');
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
    return Math.max(this.hold.deadline - now(), 0);
  }

  assertHeld(): void {
    this.hold.assertHeld();
  }

  confirm(): Promise<boolean | null> {
    return this.hold.renew(1).then(
      () => true,
      (error: unknown) => (error instanceof LockStoreUnavailableError ? null : false),
    );
  }
}
