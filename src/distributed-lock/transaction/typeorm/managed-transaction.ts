import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import {
  CommitOutcomeUnknownError,
  DistributedLockError,
  PostCommitHookError,
  TransactionStartError,
} from '../../distributed-lock.errors.js';
import type { IsolationLevel, TransactionHold } from '../transaction-runner.js';
import { commitFailure, type CommitFailure } from './commit-outcome.js';
import type { FencePass } from './fence/fence-pass.js';
import { discardConnection, forgetSavepoints } from './query-runner-internals.js';
import { TransactionCallbacks, type WithCallbacks } from './transaction-callbacks.js';
import { isLoss, lossWith, TransactionGuard } from './transaction-guard.js';
import { TransactionRecord } from './transaction-record.js';

/** COMMIT is not a statement of these drivers, or not the last word: not seen does not mean not sent. */
const COMMIT_UNSEEN = new Set([
  'mssql',
  'cockroachdb',
  'spanner',
  'aurora-mysql',
  'aurora-postgres',
]);

/** How a transaction ended, as far as anybody can tell. */
export type TransactionOutcome = 'committed' | 'rolled-back' | 'unknown';

/** The transaction of one locked call, on a query runner of its own. */
export class ManagedTransaction extends TransactionRecord implements WithCallbacks {
  readonly guard: TransactionGuard;
  readonly callbacks = new TransactionCallbacks();
  /** Valid once it has ended. */
  outcome: TransactionOutcome = 'rolled-back';
  readonly #hold: TransactionHold;
  readonly #report: (message: string) => void;
  readonly #release: () => Promise<void>;

  constructor(
    dataSource: DataSource,
    runner: QueryRunner,
    hold: TransactionHold,
    private readonly fence: FencePass | null,
    /** Told what went wrong while cleaning up; that never changes the caller's answer. */
    report: (message: string) => void,
  ) {
    super(dataSource, runner, hold.key);
    this.guard = new TransactionGuard(runner, hold);
    this.#hold = hold;
    this.#report = report;
    this.#release = runner.release.bind(runner);
    // If somebody else gives it back (the method, `dataSource.destroy()`), our transaction must not live on in the pool.
    runner.release = () => this.#discard(new Error('released inside its locked transaction'));
  }

  get manager(): EntityManager {
    return this.runner.manager;
  }

  /** Open until its end even if the connection has died: a nested call must fail with it, not go on beside it. */
  override get isOpen(): boolean {
    return this.phase === 'open' && !this.guard.commitAcknowledged;
  }

  /** Known without a stack, which would cost more than all that the lock does in the transaction. */
  override get openedAt(): string {
    return this.#hold.method;
  }

  override get endsItsHolds(): boolean {
    return true;
  }

  override get isOver(): boolean {
    return this.phase === 'ended';
  }

  /**
   * Gets the connection, checks the hold (waiting for the pool may have cost the lease), sends START and the fence, and checks
   * the hold again (so may waiting for a former holder at the fence).
   *
   * @throws {LockLostError} `methodRan: false`
   * @throws {TransactionStartError} with the driver's error as its cause
   * @throws what {@link FencePass.enter} says of a holder that may not enter
   */
  async start(isolation: IsolationLevel | undefined): Promise<void> {
    try {
      await this.runner.connect();
      this.#hold.assertHeld();
      await this.runner.startTransaction(isolation);
      this.open(null);
      await this.fence?.enter(this.runner);
      this.#hold.assertHeld();
      this.guard.stage = 'open';
    } catch (error) {
      await this.rollback();
      if (isLoss(error)) throw lossWith(error, { methodRan: false, committed: false });
      if (error instanceof DistributedLockError) throw error;
      throw new TransactionStartError(this.#hold.key, { cause: error });
    }
  }

  /**
   * Commits, and makes sure that it did. The connection is given back (or closed) whatever happens.
   *
   * @throws what `TransactionRunner.run` promises
   */
  async commit(): Promise<void> {
    try {
      this.guard.assertCommittable();
      this.guard.stage = 'committing';
      await this.runner.commitTransaction();
      // A nested transaction that began meanwhile makes TypeORM release its savepoint instead.
      if (!this.#isCommitted()) throw this.guard.leftOpen();
    } catch (error) {
      const failure = await this.#afterFailedCommit(error);
      if (failure === null) return;
      throw failure.told;
    }
    await this.#finish();
    if (this.guard.commitTag === 'ROLLBACK') throw this.guard.rolledBack('answered-rollback');
    this.outcome = 'committed';
  }

  /** Never rejects: the caller has a better error. A connection that cannot roll back is closed. */
  async rollback(): Promise<void> {
    this.guard.stage = 'rolling-back';
    if (!this.runner.isReleased && this.runner.isTransactionActive) {
      try {
        forgetSavepoints(this.runner);
        await this.runner.rollbackTransaction();
      } catch (error) {
        await this.#afterFailedRollback(error);
      }
    }
    await this.#finish();
  }

  /**
   * Runs the callbacks of the end that it had, none where nobody knows, and then releases the locks that were held in it.
   *
   * @returns the errors of the callbacks.
   */
  async callEnded(): Promise<readonly unknown[]> {
    const failures = await this.#callBack();
    await this.kept?.transactionEnded(this.outcome === 'unknown' ? 'unknown' : 'ended');
    return failures;
  }

  async #callBack(): Promise<readonly unknown[]> {
    if (this.outcome === 'unknown') return [];
    return this.outcome === 'committed' ? this.callbacks.committed() : this.callbacks.rolledBack();
  }

  #isCommitted(): boolean {
    return (
      this.guard.commitAcknowledged || (this.#commitsUnseen() && !this.runner.isTransactionActive)
    );
  }

  #commitsUnseen(): boolean {
    return COMMIT_UNSEEN.has(this.dataSource.options.type);
  }

  /** @returns what the caller is told, or `null`: it is committed after all. */
  async #afterFailedCommit(error: unknown): Promise<{ readonly told: unknown } | null> {
    if (this.#isCommitted()) {
      await this.#finish();
      if (this.guard.commitTag === 'ROLLBACK')
        return { told: this.guard.rolledBack('answered-rollback') };
      this.outcome = 'committed';
      return { told: new PostCommitHookError(this.#hold.key, { cause: error }) };
    }
    if (this.#failureOf(error) === 'unknown') {
      await this.#discard(asError(error));
      await this.#finish();
      return this.#afterLostCommit(error);
    }
    const connectionDied = this.runner.isReleased;
    await this.rollback();
    return {
      told:
        connectionDied && !isLoss(error)
          ? this.guard.rolledBack('connection-lost', error)
          : this.guard.told(error),
    };
  }

  /** Nothing answered COMMIT, and its connection is closed: the row of the fence may still tell. */
  async #afterLostCommit(error: unknown): Promise<{ readonly told: unknown } | null> {
    this.outcome = (await this.fence?.outcome()) ?? 'unknown';
    switch (this.outcome) {
      case 'committed':
        this.#report(
          `Lock "${this.#hold.key}": the connection was lost during COMMIT; the fence says that it is committed: ${String(error)}`,
        );
        return null;
      case 'rolled-back':
        return { told: this.guard.rolledBack('connection-lost', error) };
      default:
        return { told: new CommitOutcomeUnknownError(this.#hold.key, { cause: error }) };
    }
  }

  #failureOf(error: unknown): CommitFailure {
    const { stage, commitFailure: failure } = this.guard;
    if (failure !== undefined) return commitFailure(failure);
    if (isLoss(error)) return 'rolled-back'; // the guard refused to send it
    // Neither answered nor failed: a subscriber threw, or the connection was gone, before it was sent.
    return stage !== 'open' && this.#commitsUnseen() ? commitFailure(error) : 'rolled-back';
  }

  async #afterFailedRollback(error: unknown): Promise<void> {
    if (!this.runner.isTransactionActive) {
      this.#report(
        `Lock "${this.#hold.key}": a subscriber failed after the rollback: ${String(error)}`,
      );
      return;
    }
    if (!this.runner.isReleased) {
      this.#report(
        `Lock "${this.#hold.key}": ROLLBACK failed; the connection is closed instead: ${String(error)}`,
      );
    }
    await this.#discard(asError(error));
  }

  async #finish(): Promise<void> {
    this.guard.stage = 'ended';
    this.end();
    this.runner.release = this.#release;
    try {
      await this.#release();
    } catch (error) {
      this.#report(
        `Lock "${this.#hold.key}": the connection could not be given back: ${String(error)}`,
      );
    }
    // Late statements through the manager that the method was given are refused like those of joined repositories.
    Object.defineProperty(this.manager, 'queryRunner', {
      get: () => this.joinedRunner,
      configurable: true,
    });
  }

  #discard(cause: Error): Promise<void> {
    return discardConnection(this.runner, cause, this.#release);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
