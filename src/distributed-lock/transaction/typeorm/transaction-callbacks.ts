import {
  LockConfigurationError,
  TransactionContextEndedError,
} from '../../distributed-lock.errors.js';
import { innermostJoined } from './transaction-context.js';
import type { TransactionRecord } from './transaction-record.js';

/** What runs when a locked transaction has ended. */
export type TransactionCallback = () => unknown;

/** The callbacks of one transaction, in the order they were given. */
export class TransactionCallbacks {
  readonly #afterCommit: TransactionCallback[] = [];
  readonly #afterRollback: TransactionCallback[] = [];

  afterCommit(callback: TransactionCallback): void {
    this.#afterCommit.push(callback);
  }

  afterRollback(callback: TransactionCallback): void {
    this.#afterRollback.push(callback);
  }

  committed(): Promise<unknown[]> {
    return runAll(this.#afterCommit);
  }

  rolledBack(): Promise<unknown[]> {
    return runAll(this.#afterRollback);
  }
}

/** One after the other; one that fails does not keep the next ones from running. @returns the errors. */
async function runAll(callbacks: readonly TransactionCallback[]): Promise<unknown[]> {
  const errors: unknown[] = [];
  for (const callback of callbacks) {
    try {
      await callback();
    } catch (error) {
      errors.push(error);
    }
  }
  return errors;
}

/** A transaction of a locked call: the only kind whose end can be waited for. */
export interface WithCallbacks {
  readonly callbacks: TransactionCallbacks;
}

/**
 * Runs `callback` when the transaction around this call has committed, **before** the lock is released: the next holder sees what
 * it did. Callbacks run one after the other, in the order given, outside of the transaction. Not run after a rollback, nor where
 * nobody can tell what became of the commit.
 *
 * A callback that fails does not undo the commit: the caller gets a `PostCommitHookError` with `committed: true`.
 *
 * @throws {LockConfigurationError} outside the transaction of a locked method
 * @throws {TransactionContextEndedError} after its end
 */
export function afterCommit(callback: TransactionCallback): void {
  callbacksHere('afterCommit').afterCommit(callback);
}

/**
 * Runs `callback` when the transaction around this call has been rolled back, before the lock is released; with retries, once for each
 * attempt that registered one. The error of the method stays the caller's answer; one of a callback is reported as a warning.
 *
 * @throws {LockConfigurationError} outside the transaction of a locked method
 * @throws {TransactionContextEndedError} after its end
 */
export function afterRollback(callback: TransactionCallback): void {
  callbacksHere('afterRollback').afterRollback(callback);
}

function callbacksHere(caller: string): TransactionCallbacks {
  const transaction = innermostJoined(() => true);
  if (transaction === undefined || !hasCallbacks(transaction)) {
    throw new LockConfigurationError(
      `${caller}() was called outside the transaction of a locked method; allowed: inside one.`,
    );
  }
  if (!transaction.isOpen) throw new TransactionContextEndedError(transaction.key);
  return transaction.callbacks;
}

function hasCallbacks(
  transaction: TransactionRecord,
): transaction is TransactionRecord & WithCallbacks {
  return 'callbacks' in transaction;
}
