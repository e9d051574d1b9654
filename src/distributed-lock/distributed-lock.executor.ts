import {
  CommitOutcomeUnknownError,
  LockInsideTransactionError,
  LockQueueFullError,
  LockWaitTimeoutError,
} from './distributed-lock.errors.js';
import type { OnTimeout, ResolvedTimes } from './distributed-lock.options.js';
import type { LockKey } from './key/lock-key.js';
import { outsideHolds } from './lock/current-hold.js';
import type { Hold } from './lock/hold.js';
import type { LockManager } from './lock/lock-manager.js';
import type { ManagedHold } from './lock/managed-hold.js';
import { OuterHolds } from './distributed-lock.outer-holds.js';
import { HoldOfTransaction, withoutHold } from './distributed-lock.transaction-hold.js';
import type { Admission } from './store/lock-store.js';
import type { TransactionOptions, TransactionRunner } from './transaction/transaction-runner.js';

/** What is asked for: keys, how long, and in what kind of transaction. */
export interface LockRequest {
  /** `Class.method`, or a label; for errors and events. */
  readonly method: string;
  /** Sorted, without duplicates. */
  readonly keys: readonly LockKey[];
  readonly times: ResolvedTimes;
  readonly signal?: AbortSignal | undefined;
  /** Default: one holder at a time, in the store's own order. */
  readonly admission?: Admission | undefined;
  /** `null`: without a transaction. */
  readonly transaction: TransactionOptions | null;
}

/** One call of a locked method or callback, with its key evaluated and its options checked. */
export interface LockedCall<T> extends LockRequest {
  readonly args: readonly unknown[];
  readonly onTimeout: OnTimeout;
  /** Runs the method, which may throw at once. `manager` is the transaction's, `undefined` without one. */
  proceed(hold: Hold, manager: unknown): T | Promise<T>;
}

/** A call whose condition says that it needs no lock. */
export interface UnlockedCall<T> {
  readonly method: string;
  readonly transaction: TransactionOptions | null;
  proceed(): T | Promise<T>;
}

/** The flow of a locked call. */
export class DistributedLockExecutor {
  readonly #outerHolds: OuterHolds;

  constructor(
    readonly locks: LockManager,
    readonly transactions: TransactionRunner | null,
  ) {
    this.#outerHolds = new OuterHolds(locks);
  }

  /** Lock, then START TRANSACTION, then the method, then COMMIT, then release: in that order, always. */
  execute<T>(call: LockedCall<T>): Promise<T> {
    return this.#isHeldOutside(call) ? this.#executeOutside(call) : this.#execute(call);
  }

  async #executeOutside<T>(call: LockedCall<T>): Promise<T> {
    const scope = await this.#holdOutside(call).catch((error: unknown) =>
      this.#notAcquired(call, error),
    );
    if ('instead' in scope) return scope.instead as T;
    return scope.inside(() => this.#execute(call)); // which joins those holds, and that transaction
  }

  async #execute<T>(call: LockedCall<T>): Promise<T> {
    let hold: ManagedHold;
    try {
      hold = await this.#enter(call);
    } catch (error) {
      return (await this.#notAcquired(call, error)).instead as T;
    }
    try {
      const result = await this.locks.inside(hold, () => this.#run(call, hold));
      // A transaction has looked before its commit; after that it is done, whatever becomes of the lock.
      if (!this.#runsInTransaction(call)) hold.assertNotLost();
      return result;
    } catch (error) {
      // A commit may still be on its way: the next holder must not overtake it.
      if (error instanceof CommitOutcomeUnknownError) hold.abandon();
      throw error;
    } finally {
      const ended = hold.end();
      if (call.times.awaitRelease !== false) await ended;
    }
  }

  /** Without a lock: in its transaction, if it has one, which is not fenced; an open one is joined, as any method would. */
  async runUnlocked<T>(call: UnlockedCall<T>): Promise<T> {
    const { method, transaction } = call;
    if (!transaction || !this.transactions) return await call.proceed();
    // Nothing was locked inside an open transaction, so there is nothing to warn of.
    const options = { ...transaction, onOpenTransaction: 'reject' as const };
    return await this.transactions.run(options, withoutHold(method), async () => call.proceed());
  }

  /**
   * Acquires without running anything, for `acquire()` and `tryAcquire()`.
   *
   * @throws {LockInsideTransactionError} inside an open transaction, unless the caller holds these keys already.
   */
  async acquire(request: LockRequest): Promise<ManagedHold> {
    return this.#enter(request);
  }

  #enter(request: LockRequest): Promise<ManagedHold> {
    if (!this.locks.joins(request.keys)) this.#refuseInsideTransaction(request);
    return this.locks.enter(request.keys, request.times, request.signal, request.admission);
  }

  /** Starts work that is no part of the calling chain: neither inside its holds, nor inside its transaction. */
  detached<T>(work: () => T): T {
    const { transactions } = this;
    return outsideHolds(() => (transactions === null ? work() : transactions.outside(work)));
  }

  #run<T>(call: LockedCall<T>, hold: ManagedHold): T | Promise<T> {
    if (!call.transaction || !this.transactions) return call.proceed(hold, undefined);
    const held = new HoldOfTransaction(hold, call.method);
    return this.transactions.run(call.transaction, held, async (manager) =>
      call.proceed(hold, manager),
    );
  }

  #runsInTransaction({ transaction }: LockRequest): boolean {
    return transaction !== null && this.transactions !== null;
  }

  /** Whether the lock shall be held until an open transaction around the call has ended. */
  #isHeldOutside({ transaction }: LockRequest): boolean {
    return (
      transaction !== null &&
      this.transactions?.openTransaction() !== undefined &&
      this.transactions.onOpenTransaction(transaction) === 'hold'
    );
  }

  async #holdOutside(call: LockRequest): ReturnType<OuterHolds['enter']> {
    const outer = (await this.transactions?.outer?.(call.transaction ?? {})) ?? {
      unsafe: 'The transactions of this module cannot hold a lock until then.',
    };
    if (!('unsafe' in outer)) return this.#outerHolds.enter(outer, call);
    const { openedAt = null } = this.transactions?.openTransaction() ?? {};
    throw new LockInsideTransactionError(call.keys.join(', '), call.method, openedAt, outer.unsafe);
  }

  #refuseInsideTransaction({ transaction, keys, method }: LockRequest): void {
    const open = this.transactions?.openTransaction();
    if (!open || this.transactions?.onOpenTransaction(transaction ?? {}) === 'warn') return;
    throw new LockInsideTransactionError(keys.join(', '), method, open.openedAt);
  }

  /** Not in time: what the call does instead. Anything else is an error. */
  async #notAcquired<T>(
    { onTimeout, ...call }: LockedCall<T>,
    error: unknown,
  ): Promise<{ instead: unknown }> {
    const late = error instanceof LockWaitTimeoutError || error instanceof LockQueueFullError;
    if (!late || onTimeout === 'throw') throw error;
    if (onTimeout === 'skip') return { instead: undefined };
    const { keys, method, args, times } = call;
    return {
      instead: await onTimeout({ keys, method, args, waitTimeMs: times.waitTimeMs, error }),
    };
  }
}
