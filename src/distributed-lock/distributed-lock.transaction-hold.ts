import { now } from './distributed-lock.clock.js';
import { LockStoreUnavailableError } from './distributed-lock.errors.js';
import type { ManagedHold } from './lock/managed-hold.js';
import type { TransactionHold } from './transaction/transaction-runner.js';

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
