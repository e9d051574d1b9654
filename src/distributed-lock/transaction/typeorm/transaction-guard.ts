import type { QueryRunner } from 'typeorm';
import {
  LockLostError,
  LockNotHeldError,
  TransactionContextEndedError,
  TransactionMisuseError,
  TransactionRolledBackError,
} from '../../distributed-lock.errors.js';
import type { TransactionHold } from '../transaction-runner.js';
import { isConsequentialError, isDisconnect, isInnoDbDeadlock } from './commit-outcome.js';
import { savepointDepth } from './query-runner-internals.js';

/**
 * Where the transaction is. Its method runs while it is `open`; other subscribers may issue statements in
 * `committing` and `rolling-back`; after that the connection is not ours any more.
 */
export type TransactionStage =
  'starting' | 'open' | 'committing' | 'commit-sent' | 'rolling-back' | 'rollback-sent' | 'ended';

/** What the driver said to one statement. */
export type StatementAnswer = { readonly rawResults?: unknown } | { readonly error: unknown };

/** Statements with which a method would end the transaction behind the lock's back; `ROLLBACK TO` a savepoint is fine. */
const ENDS_TRANSACTION =
  /^\s*(?:commit|end|abort|rollback(?!(?:\s+(?:work|transaction))?\s+to\b))\b/i;

/**
 * Sees every statement of one locked transaction before it is sent: none after the hold was lost, none after the end,
 * no COMMIT but the lock's own.
 */
export class TransactionGuard {
  stage: TransactionStage = 'starting';
  /** COMMIT was answered; with `ROLLBACK` if {@link commitTag} says so. */
  commitAcknowledged = false;
  /** What PostgreSQL says that COMMIT did. */
  commitTag: unknown;
  /** The driver's error, where COMMIT was sent and failed. */
  commitFailure: unknown;
  #commitSent = false;
  /** The last statement that failed by itself. */
  #failed: unknown;
  /** The database has ended the transaction already: statements would run, and commit, one by one. */
  #doom: unknown;

  constructor(
    private readonly runner: QueryRunner,
    private readonly hold: Pick<TransactionHold, 'key' | 'lost' | 'assertHeld'>,
  ) {}

  /** @throws what keeps the statement from being sent. */
  beforeStatement(query: string): void {
    switch (this.stage) {
      case 'starting':
        return;
      case 'open':
        if (ENDS_TRANSACTION.test(query)) throw this.#endedByMethod(query.trim());
        return this.assertUsable();
      case 'committing':
        this.assertUsable();
        if (query === 'COMMIT') this.#sendCommit();
        return;
      case 'rolling-back':
        if (query === 'ROLLBACK') this.stage = 'rollback-sent';
        else if (this.#commitSent || this.#doom !== undefined || ENDS_TRANSACTION.test(query))
          throw this.#ended();
        return;
      default:
        throw this.#ended();
    }
  }

  afterStatement(query: string, answer: StatementAnswer): void {
    const isOurCommit = this.#commitSent && query === 'COMMIT';
    if ('error' in answer) {
      if (isOurCommit) this.commitFailure = answer.error;
      if (isInnoDbDeadlock(answer.error)) this.#doom = answer.error;
      if (!isConsequentialError(answer.error)) this.#failed = answer.error;
    } else if (isOurCommit) {
      this.commitAcknowledged = true;
      this.commitTag = commandTag(answer.rawResults);
    }
  }

  /**
   * The same for drivers where ending a transaction is not a statement.
   *
   * @throws {TransactionMisuseError} if somebody else ends the whole transaction. TypeORM does so by itself when a
   *   SAVEPOINT fails: it then rolls back as if it had been set, one level too deep.
   */
  beforeEnd(what: 'commit' | 'rollback'): void {
    if (this.stage === 'open' && savepointDepth(this.runner) <= 1) throw this.#endedByMethod(what);
  }

  /** @throws {TransactionRolledBackError | LockLostError | LockNotHeldError} if nothing may be written any more. */
  assertUsable(): void {
    if (this.#doom !== undefined) throw this.rolledBack('deadlock', this.#doom);
    try {
      this.hold.assertHeld();
    } catch (error) {
      throw isLoss(error) ? lossWith(error, { methodRan: true, committed: false }) : error;
    }
  }

  /** @throws what keeps the transaction from being committed. */
  assertCommittable(): void {
    this.assertUsable();
    if (savepointDepth(this.runner) > 1) throw this.leftOpen();
  }

  /** @returns the error as the caller shall see it: a loss that the method noticed by itself is rolled back in the end. */
  told(error: unknown): unknown {
    if (isDisconnect(error)) return this.#afterDisconnect(error);
    if (!isLoss(error) || error.committed === false) return error;
    // Not the loss of some other lock that the method tried.
    if (error.key !== this.hold.key && !this.hold.lost.aborted) return error;
    return lossWith(error, { methodRan: true, committed: false });
  }

  /** Of a holder that was paused until the database had ended its session, the lock says more than TypeORM does. */
  #afterDisconnect(error: unknown): unknown {
    try {
      this.assertUsable();
      return error;
    } catch (reason) {
      return reason;
    }
  }

  rolledBack(
    reason: TransactionRolledBackError['reason'],
    cause: unknown = this.#failed,
  ): TransactionRolledBackError {
    return new TransactionRolledBackError(this.hold.key, {
      reason,
      ...(cause === undefined ? {} : { cause }),
    });
  }

  leftOpen(): TransactionMisuseError {
    return new TransactionMisuseError(
      this.hold.key,
      'a nested transaction was still open when the method returned; await it',
    );
  }

  /** The last look at the hold was a line ago: after the hooks of other subscribers, just before COMMIT is sent. */
  #sendCommit(): void {
    this.stage = 'commit-sent';
    this.#commitSent = true;
  }

  #ended(): TransactionContextEndedError {
    return new TransactionContextEndedError(this.hold.key);
  }

  #endedByMethod(what: string): TransactionMisuseError {
    return new TransactionMisuseError(
      this.hold.key,
      `the method tried to end its transaction itself (${what}); that is done when it has returned`,
    );
  }
}

type Loss = LockLostError | LockNotHeldError;

export function isLoss(error: unknown): error is Loss {
  return error instanceof LockLostError || error instanceof LockNotHeldError;
}

/** The same loss, with what is known of the transaction. A loss may be retried, a use after the release not. */
export function lossWith(error: Loss, outcome: { methodRan: boolean; committed: false }): Loss {
  const key = error.key ?? '';
  return error instanceof LockLostError
    ? new LockLostError(key, error.reason, { ...outcome, retryable: true })
    : new LockNotHeldError(key, { ...outcome, retryable: false });
}

function commandTag(rawResults: unknown): unknown {
  return typeof rawResults === 'object' && rawResults !== null && 'command' in rawResults
    ? rawResults.command
    : undefined;
}
