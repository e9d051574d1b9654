import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import {
  CommitOutcomeUnknownError,
  PostCommitHookError,
  TransactionStartError,
} from '../../distributed-lock.errors.js';
import type { IsolationLevel, TransactionHold } from '../transaction-runner.js';
import { commitFailure, type CommitFailure } from './commit-outcome.js';
import type { Place } from './opened-at.js';
import { discardConnection, forgetSavepoints } from './query-runner-internals.js';
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

/** The transaction of one locked call, on a query runner of its own. */
export class ManagedTransaction extends TransactionRecord {
  readonly guard: TransactionGuard;
  readonly #hold: TransactionHold;
  readonly #report: (message: string) => void;
  readonly #release: () => Promise<void>;

  constructor(
    dataSource: DataSource,
    runner: QueryRunner,
    hold: TransactionHold,
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

  override get isOver(): boolean {
    return this.phase === 'ended';
  }

  /**
   * Gets the connection, checks the hold (waiting for the pool may have cost the lease), sends START.
   *
   * @throws {LockLostError} `methodRan: false`
   * @throws {TransactionStartError} with the driver's error as its cause
   */
  async start(isolation: IsolationLevel | undefined, place: Place | null): Promise<void> {
    try {
      await this.runner.connect();
      this.#hold.assertHeld();
      await this.runner.startTransaction(isolation);
      this.open(place);
      this.guard.stage = 'open';
    } catch (error) {
      await this.rollback();
      if (isLoss(error)) throw lossWith(error, { methodRan: false, committed: false });
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
      throw await this.#afterFailedCommit(error);
    }
    await this.#finish();
    if (this.guard.commitTag === 'ROLLBACK') throw this.guard.rolledBack('answered-rollback');
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

  #isCommitted(): boolean {
    return (
      this.guard.commitAcknowledged || (this.#commitsUnseen() && !this.runner.isTransactionActive)
    );
  }

  #commitsUnseen(): boolean {
    return COMMIT_UNSEEN.has(this.dataSource.options.type);
  }

  /** @returns what the caller is told. */
  async #afterFailedCommit(error: unknown): Promise<unknown> {
    if (this.#isCommitted()) {
      await this.#finish();
      if (this.guard.commitTag === 'ROLLBACK') return this.guard.rolledBack('answered-rollback');
      return new PostCommitHookError(this.#hold.key, { cause: error });
    }
    if (this.#failureOf(error) === 'unknown') {
      await this.#discard(asError(error));
      await this.#finish();
      return new CommitOutcomeUnknownError(this.#hold.key, { cause: error });
    }
    const connectionDied = this.runner.isReleased;
    await this.rollback();
    return connectionDied && !isLoss(error)
      ? this.guard.rolledBack('connection-lost', error)
      : this.guard.told(error);
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
      value: this.joinedRunner,
      configurable: true,
      writable: true,
    });
  }

  #discard(cause: Error): Promise<void> {
    return discardConnection(this.runner, cause, this.#release);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
