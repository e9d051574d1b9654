/**
 * Did the transaction of the call commit? `'unknown'` where nobody can tell: the connection broke while
 * COMMIT was on its way, or the method ran without a transaction and may have had effects.
 */
export type Committed = boolean | 'unknown';

/** The three answers that a caller needs before it decides what to do next. */
export interface CallOutcome {
  /** Whether any line of the method (or callback) was executed. */
  readonly methodRan: boolean;
  readonly committed: Committed;
  /** Whether the same call may simply be made again. `false` also where a retry could double the work. */
  readonly retryable: boolean;
}

const BEFORE_THE_METHOD = { methodRan: false, committed: false } as const;

/**
 * What every error of this library extends.
 *
 * Match on {@link code} rather than on `instanceof` where two copies of the package may be installed.
 * An error that the locked method throws itself is never wrapped: callers get the same object.
 */
export abstract class DistributedLockError extends Error implements CallOutcome {
  /** Stable, for machines: `LOCK_WAIT_TIMEOUT`, `LOCK_LOST`, … */
  abstract readonly code: string;
  readonly methodRan: boolean;
  readonly committed: Committed;
  readonly retryable: boolean;

  constructor(
    message: string,
    /** The key as the caller wrote it, without the namespace; several are joined with `, `. `null` before a key is known. */
    readonly key: string | null,
    outcome: CallOutcome,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.methodRan = outcome.methodRan;
    this.committed = outcome.committed;
    this.retryable = outcome.retryable;
  }

  override get name(): string {
    return this.constructor.name;
  }
}

/** An option, a decorator or the server's set-up is wrong. Nothing ran; a retry cannot help. */
export class LockConfigurationError extends DistributedLockError {
  readonly code = 'LOCK_CONFIGURATION';

  constructor(message: string, options?: ErrorOptions & { key?: string }) {
    super(message, options?.key ?? null, { ...BEFORE_THE_METHOD, retryable: false }, options);
  }
}

/** The key of this call cannot be formed, or is not a usable key. The method did not run. */
export class LockKeyError extends DistributedLockError {
  readonly code = 'LOCK_KEY';

  constructor(message: string, options?: ErrorOptions) {
    super(message, null, { ...BEFORE_THE_METHOD, retryable: false }, options);
  }
}

/**
 * Another owner kept the lock for the whole wait time.
 *
 * The method did not run and no transaction was opened. Safe to retry.
 */
export class LockWaitTimeoutError extends DistributedLockError {
  readonly code = 'LOCK_WAIT_TIMEOUT';

  constructor(
    key: string,
    /** How long the call was prepared to wait, in milliseconds. */
    readonly waitTimeMs: number,
  ) {
    super(`Lock "${key}" was still held by another owner after ${waitTimeMs} ms.`, key, {
      ...BEFORE_THE_METHOD,
      retryable: true,
    });
  }
}

/**
 * The calling chain holds the lock together with others (`mode: 'shared'` or `permits`) and asks for it in another way: it would wait
 * for itself to leave, for ever. Of two chains that do so, each would wait for the other.
 *
 * The inner method did not run. A retry cannot help.
 */
export class LockUpgradeError extends DistributedLockError {
  readonly code = 'LOCK_UPGRADE';

  constructor(
    key: string,
    /** How the chain holds it: `shared` or `permit`. */
    readonly held: string,
    /** How it is asked for inside. */
    readonly wanted: string,
  ) {
    super(
      `Lock "${key}" is held by this very call chain as ${held}, and asked for as ${wanted}: it would wait for itself. ` +
        'Take it exclusively from the start, or call this after the outer hold has ended.',
      key,
      { ...BEFORE_THE_METHOD, retryable: false },
    );
  }
}

/**
 * As many calls of this process as `maxWaiters` allows wait for the lock already.
 *
 * Told at once: the call did not wait, the method did not run and no transaction was opened. Safe to retry, later.
 */
export class LockQueueFullError extends DistributedLockError {
  readonly code = 'LOCK_QUEUE_FULL';

  constructor(
    key: string,
    /** How many may wait. */
    readonly maxWaiters: number,
  ) {
    super(
      `Lock "${key}" is waited for by ${maxWaiters} calls of this process already (option "maxWaiters").`,
      key,
      { ...BEFORE_THE_METHOD, retryable: true },
    );
  }
}

/**
 * The store could not answer: not reachable, loading, read-only, out of memory, or too slow.
 *
 * "Broken" is never reported as "busy". The method did not run, unless the error comes from
 * `hold.renew()` or `hold.release()`. What was asked of the store is undone or ends with the lease.
 */
export class LockStoreUnavailableError extends DistributedLockError {
  readonly code = 'LOCK_STORE_UNAVAILABLE';

  constructor(
    /** Name of the store: `redis`, `memory`, … */
    readonly store: string,
    key: string | null,
    readonly detail: string,
    options?: ErrorOptions,
  ) {
    const subject = key === null ? 'Lock store' : `Lock "${key}": store`;
    super(
      `${subject} "${store}" is unavailable: ${detail}`,
      key,
      { ...BEFORE_THE_METHOD, retryable: true },
      options,
    );
  }
}

/** The module is shutting down: waiting calls are turned away. The method did not run; retry on another instance. */
export class LockClosedError extends DistributedLockError {
  readonly code = 'LOCK_CLOSED';

  constructor(key: string | null) {
    const subject = key === null ? 'The lock' : `Lock "${key}"`;
    super(`${subject} is not handed out any more: the application is shutting down.`, key, {
      ...BEFORE_THE_METHOD,
      retryable: true,
    });
  }
}

/**
 * Why a hold ended without a release.
 *
 * - `expired`: the local deadline passed without a confirmed renewal
 * - `taken-over`: the store says that the key is gone or belongs to another owner
 * - `session-ended`: the session that carried the lock ended
 * - `held-too-long`: `holdAtMost` was over
 * - `resigned`: its holder, a leader, stepped down
 * - `closed`: the application shut down and its grace time was over
 */
export type LossReason =
  'expired' | 'taken-over' | 'session-ended' | 'held-too-long' | 'resigned' | 'closed';

const LOSS: Record<LossReason, string> = {
  expired: 'its lease ran out before it could be renewed',
  'taken-over': 'the store no longer honours it',
  'session-ended': 'the session that held it ended',
  'held-too-long': 'it was held for longer than "holdAtMost" allows',
  resigned: 'its holder stepped down as leader',
  closed: 'the application shut down before the holder had finished',
};

/**
 * The hold ended while the method was running; another owner may have entered since.
 *
 * With a transaction: rolled back (`committed: false`), safe to retry. Without one the method's
 * effects may stand (`committed: 'unknown'`), so it is not marked retryable.
 */
export class LockLostError extends DistributedLockError {
  readonly code = 'LOCK_LOST';

  constructor(
    key: string,
    readonly reason: LossReason,
    outcome: Partial<CallOutcome> = {},
  ) {
    super(
      `Lock "${key}" was lost: ${LOSS[reason]}. The data it protects may have been changed by another owner.`,
      key,
      {
        methodRan: true,
        committed: 'unknown',
        retryable: false,
        ...outcome,
      },
    );
  }
}

/** A hold was used after it had been released, or where there is none. */
export class LockNotHeldError extends DistributedLockError {
  readonly code = 'LOCK_NOT_HELD';

  constructor(
    key: string | null,
    outcome: Partial<CallOutcome> = {},
    detail = 'is not held any more: it was released',
  ) {
    super(`${key === null ? 'A lock' : `Lock "${key}"`} ${detail}.`, key, {
      methodRan: true,
      committed: 'unknown',
      retryable: false,
      ...outcome,
    });
  }
}

/**
 * A lock was asked for inside an open transaction: it would be freed before that transaction commits
 * and so protect nothing; or it was to be held until that transaction ends, where that is not safe. Nothing was locked; the method
 * did not run.
 */
export class LockInsideTransactionError extends DistributedLockError {
  readonly code = 'LOCK_INSIDE_TRANSACTION';

  constructor(
    key: string,
    /** `Class.method` or label of the locked call. */
    readonly requestedBy: string,
    /** Where the transaction was opened, such as `Bar.checkout (bar.ts:41:7)`; `null` where no stack was recorded. */
    readonly openedAt: string | null,
    why = 'It would be released before that transaction commits and protect nothing.',
  ) {
    super(
      `Lock "${key}" was requested in ${requestedBy} inside a transaction opened at ${openedAt ?? 'an unknown place'}. ` +
        `${why} ` +
        'Lock first: put @DistributedLock on the method that opens the transaction, or open no transaction there ' +
        '(the lock opens one by itself); to hold several keys, return them all from one `key`.',
      key,
      { ...BEFORE_THE_METHOD, retryable: false },
    );
  }
}

/**
 * No connection could be had from the pool, or START failed; the driver's error is the `cause`.
 *
 * The method did not run. Safe to retry.
 */
export class TransactionStartError extends DistributedLockError {
  readonly code = 'TRANSACTION_START';

  constructor(key: string, options?: ErrorOptions) {
    super(
      `Lock "${key}": the transaction could not be started: ${reasonOf(options?.cause)}`,
      key,
      { ...BEFORE_THE_METHOD, retryable: true },
      options,
    );
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/**
 * Why a transaction did not commit although the method returned.
 *
 * - `answered-rollback`: the database answered COMMIT with ROLLBACK, because a statement had failed before and the
 *   method swallowed its error
 * - `deadlock`: the database had rolled the transaction back already (InnoDB, error 1213), and the method swallowed the error
 * - `connection-lost`: the connection was gone before COMMIT was sent, or the fence told that COMMIT never took effect
 */
export type RollbackReason = 'answered-rollback' | 'deadlock' | 'connection-lost';

const ROLLED_BACK: Record<RollbackReason, string> = {
  'answered-rollback':
    'the database rolled the transaction back at COMMIT, because an earlier statement in it had failed and the error was swallowed',
  deadlock:
    'the database rolled the transaction back after a deadlock, and the error was swallowed',
  'connection-lost': 'the connection was lost before COMMIT took effect',
};

/**
 * The database rolled the transaction back although the method returned. Nothing was written.
 *
 * Safe to retry where the method is not to blame: after a deadlock or a lost connection. The `cause` is the error that
 * was swallowed, where it is known.
 */
export class TransactionRolledBackError extends DistributedLockError {
  readonly code = 'TRANSACTION_ROLLED_BACK';
  readonly reason: RollbackReason;

  constructor(key: string, options: ErrorOptions & { readonly reason?: RollbackReason } = {}) {
    const { reason = 'answered-rollback', ...errorOptions } = options;
    super(
      `Lock "${key}": ${ROLLED_BACK[reason]}. Nothing was written.`,
      key,
      { methodRan: true, committed: false, retryable: reason !== 'answered-rollback' },
      errorOptions,
    );
    this.reason = reason;
  }
}

/**
 * The method handled its transaction in a way that would have broken the promise of the lock: it ended it by itself, or
 * returned while a nested transaction was open. Nothing was written.
 */
export class TransactionMisuseError extends DistributedLockError {
  readonly code = 'TRANSACTION_MISUSE';

  constructor(key: string, detail: string) {
    super(`Lock "${key}": ${detail}. The transaction is rolled back.`, key, {
      methodRan: true,
      committed: false,
      retryable: false,
    });
  }
}

/**
 * The connection broke while COMMIT was on its way. The transaction may or may not be in the database.
 *
 * The lock is not released but left to its lease, so that a commit that is still on its way is not overtaken.
 */
export class CommitOutcomeUnknownError extends DistributedLockError {
  readonly code = 'COMMIT_OUTCOME_UNKNOWN';

  constructor(key: string, options?: ErrorOptions) {
    super(
      `Lock "${key}": the connection was lost during COMMIT; whether the transaction was committed is unknown. ` +
        'Check the data before you repeat the call.',
      key,
      { methodRan: true, committed: 'unknown', retryable: false },
      options,
    );
  }
}

/**
 * The transaction is committed, but a subscriber or an `afterCommit` callback that ran after the commit threw; its error is
 * the `cause` (of several, an `AggregateError`).
 */
export class PostCommitHookError extends DistributedLockError {
  readonly code = 'POST_COMMIT_HOOK';

  constructor(key: string, options?: ErrorOptions) {
    super(
      `Lock "${key}": the transaction is committed, but a subscriber or callback failed after the commit.`,
      key,
      {
        methodRan: true,
        committed: true,
        retryable: false,
      },
      options,
    );
  }
}

/**
 * Work that was started inside a locked transaction and not awaited tried to use the database after the
 * transaction had ended. The statement was not sent.
 */
export class TransactionContextEndedError extends DistributedLockError {
  readonly code = 'TRANSACTION_CONTEXT_ENDED';

  constructor(key: string | null) {
    super(
      'A statement was issued by work that outlived its locked transaction. It was not sent. ' +
        'Await all database work inside the locked method.',
      key,
      { methodRan: true, committed: 'unknown', retryable: false },
    );
  }
}

/**
 * The database has seen a newer holder of the lock: this one was evicted while it was paused, and must not write.
 *
 * The method did not run. Safe to retry: the call then waits for the lock again.
 */
export class StaleFencingTokenError extends DistributedLockError {
  readonly code = 'STALE_FENCING_TOKEN';

  constructor(
    key: string,
    readonly token: bigint,
    /** The higher one that has passed the fence. */
    readonly seenToken: bigint,
  ) {
    super(
      `Lock "${key}" was lost: its fencing token ${token} is stale, the database has seen ${seenToken}. The transaction was refused.`,
      key,
      { ...BEFORE_THE_METHOD, retryable: true },
    );
  }
}

/**
 * The store says that the lock is held, and yet the database has seen a higher fencing token: the store's tokens went back (it lost
 * its data and its clock stepped back), or two stores that know nothing of each other share a namespace.
 *
 * The method did not run. A retry cannot help until the tokens have passed the seen one.
 */
export class FencingTokenRegressionError extends DistributedLockError {
  readonly code = 'FENCING_TOKEN_REGRESSION';

  constructor(
    key: string,
    readonly token: bigint,
    /** The higher one that the database has seen. */
    readonly seenToken: bigint,
  ) {
    super(
      `Lock "${key}" is held, but its fencing token ${token} is lower than ${seenToken}, which the database has seen. ` +
        'Either the store lost its data and its clock stepped back, or another store uses the same namespace: give each one its own. ' +
        'If no transaction of the old tokens can be running any more, delete the row of this key from the fence table.',
      key,
      { ...BEFORE_THE_METHOD, retryable: false },
    );
  }
}

/** The table of the fence is not in the database. Nothing ran; the message says how to make it. */
export class FenceTableMissingError extends DistributedLockError {
  readonly code = 'FENCE_TABLE_MISSING';

  constructor(
    readonly dataSource: string,
    readonly table: string,
    options?: ErrorOptions,
  ) {
    super(
      `DataSource "${dataSource}" has no table ${table}, which refuses the commits of holders that lost their lock. ` +
        'Add LockFenceMigration (from nestjs-distributed-lock/typeorm) to its "migrations" and run them; or lockFenceEntity() to its ' +
        '"entities" and generate one; or run the statements of fenceDdl(). With "synchronize: true" it is created by itself. ' +
        'To go without: typeormTransactions({ fence: false }).',
      null,
      { ...BEFORE_THE_METHOD, retryable: false },
      options,
    );
  }
}

/**
 * A former holder's transaction was still open when the time to wait for it was over: it is frozen, or its COMMIT is on its way.
 *
 * The method did not run. Safe to retry.
 */
export class FenceWaitTimeoutError extends DistributedLockError {
  readonly code = 'FENCE_WAIT_TIMEOUT';

  constructor(key: string, options?: ErrorOptions) {
    super(
      `Lock "${key}" is held, but the transaction of a former holder is still open in the database and did not end in time.`,
      key,
      { ...BEFORE_THE_METHOD, retryable: true },
      options,
    );
  }
}

/**
 * The database gave the transaction up (a deadlock, a serialization failure), and trying again did not help; the last error is the
 * `cause`. Nothing was written. Safe to retry as far as the database is concerned.
 */
export class SerializationRetriesExhaustedError extends DistributedLockError {
  readonly code = 'SERIALIZATION_RETRIES_EXHAUSTED';

  constructor(
    key: string,
    readonly attempts: number,
    options: ErrorOptions & { readonly methodRan: boolean },
  ) {
    const { methodRan, ...errorOptions } = options;
    super(
      `Lock "${key}": the database gave the transaction up, and ${attempts} attempts did not help. Nothing was written.`,
      key,
      { methodRan, committed: false, retryable: true },
      errorOptions,
    );
  }
}

/** The transaction held its lock for longer than `maxHold`. It was rolled back. */
export class MaxHoldExceededError extends DistributedLockError {
  readonly code = 'MAX_HOLD_EXCEEDED';

  constructor(
    key: string,
    readonly maxHoldMs: number,
  ) {
    super(
      `Lock "${key}": the transaction was still open after ${maxHoldMs} ms, the longest it may hold its lock (option "maxHold"). ` +
        'It is rolled back.',
      key,
      { methodRan: true, committed: false, retryable: false },
    );
  }
}
