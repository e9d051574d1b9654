import { LockWaitTimeoutError, LockInsideTransactionError, CommitOutcomeUnknownError } from './distributed-lock.errors.js';
import type { OnTimeout, ResolvedTimes } from './distributed-lock.options.js';
import type { LockKey } from './key/lock-key.js';
import type { Hold } from './lock/hold.js';
import type { LockManager } from './lock/lock-manager.js';
import type { TransactionOptions, TransactionRunner } from './transaction/transaction-runner.js';

/** One call of a locked method or callback, with its key evaluated and its options checked. */
export interface LockedCall<T> {
  /** `Class.method`, or a label; for errors and events. */
  readonly method: string;
  readonly args: readonly unknown[];
  readonly keys: readonly LockKey[];
  readonly times: ResolvedTimes;
  readonly signal?: AbortSignal;
  /** `null`: without a transaction. */
  readonly transaction: TransactionOptions | null;
  readonly onTimeout: OnTimeout;
  /** Runs the method. `manager` is the transaction's, `undefined` without one. */
  proceed(hold: Hold, manager: unknown): Promise<T>;
}
