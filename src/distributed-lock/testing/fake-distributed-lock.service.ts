import type { LossReason } from '../distributed-lock.errors.js';
import { checkModuleOptions } from '../distributed-lock.module-options.js';
import type { LockTimes } from '../distributed-lock.options.js';
import { LockRuntime } from '../distributed-lock.runtime.js';
import { DistributedLockService } from '../distributed-lock.service.js';
import { type RecordedCall, SimulatedLocks, type Simulation } from './simulated-locks.js';
import { type RecordedTransaction, SimulatedTransactions } from './simulated-transactions.js';

/** Options of {@link FakeDistributedLockService}. */
export interface FakeLockOptions extends LockTimes {
  /** What `withTransaction` hands to its callback in place of an `EntityManager`. Default: `undefined`. */
  readonly manager?: unknown;
}

/**
 * A `DistributedLockService` for unit tests: the same flow and the same errors, on locks of this process, without a server and
 * without a database. It records what was asked for and can be told that a key is busy, lost, or that the store is away.
 *
 * ```ts
 * const locks = new FakeDistributedLockService();
 * const jobs = new Jobs(locks);
 * locks.simulate('busy', 'job1');
 * await expect(jobs.run()).rejects.toBeInstanceOf(LockWaitTimeoutError);
 * expect(locks.calls).toMatchObject([{ key: 'job1', outcome: 'busy' }]);
 * ```
 *
 * For classes with `@DistributedLock`, import `DistributedLockTestingModule` and get this class from it.
 */
export class FakeDistributedLockService extends DistributedLockService {
  /** Where the locks are; of the module too, where there is one. */
  readonly store: SimulatedLocks;
  /** What runs the transactions. */
  readonly transactionRunner: SimulatedTransactions;

  constructor({ manager, ...times }: FakeLockOptions = {}) {
    const store = new SimulatedLocks();
    const transactionRunner = new SimulatedTransactions(manager);
    super(
      new LockRuntime(
        'fake',
        checkModuleOptions({ store, transactions: transactionRunner, ...times }),
      ),
    );
    void store.open('fake', 0); // in memory: it cannot fail, and a service that is made by `new` has nobody who opens it
    this.store = store;
    this.transactionRunner = transactionRunner;
  }

  /** Every attempt to get a key, in order. Several keys of one call are several attempts. */
  get calls(): readonly RecordedCall[] {
    return this.store.calls;
  }

  /** How each transaction under a lock ended, in order. */
  get transactions(): readonly RecordedTransaction[] {
    return this.transactionRunner.transactions;
  }

  /**
   * From now on, until {@link reset}.
   *
   * @param key default: every key that has no simulation of its own.
   */
  simulate(what: Simulation, key?: string): void {
    this.store.simulate(what, key);
  }

  /** Takes a key away from whoever holds it now: `hold.lost` fires, and the call rejects with `LockLostError` at its end. */
  lose(key: string, reason: LossReason = 'taken-over'): void {
    this.store.lose(key, reason);
  }

  /** Forgets what was recorded and simulated. Holds that are out go on. */
  reset(): void {
    this.store.reset();
    this.transactionRunner.reset();
  }
}
