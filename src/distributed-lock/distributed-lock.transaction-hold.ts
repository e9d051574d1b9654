import { now } from './distributed-lock.clock.js';
import { LockStoreUnavailableError } from './distributed-lock.errors.js';
import type { ManagedHold } from './lock/managed-hold.js';
import type { TransactionHold } from './transaction/transaction-runner.js';

/** What a transaction without a lock is told: nothing can be lost, and there is nothing to fence with. */
export function withoutHold(method: string): TransactionHold {
  return {
    key: `${method}, which runs without its lock`,
    lost: new AbortController().signal,
    fencingTokens: new Map(),
    renews: true,
    remainingMs: () => Infinity,
    assertHeld: () => undefined,
    confirm: () => Promise.resolve(true),
  };
}

/** What the transaction is told of the hold. */
export function transactionHold(hold: ManagedHold): TransactionHold {
  return {
    key: hold.keys.join(', '),
    lost: hold.lost,
    fencingTokens: hold.fencingTokens,
    renews: hold.renews,
    remainingMs: () => Math.max(hold.deadline - now(), 0),
    assertHeld: () => hold.assertHeld(),
    confirm: () =>
      hold.renew(1).then(
        () => true,
        (error: unknown) => (error instanceof LockStoreUnavailableError ? null : false),
      ),
  };
}
