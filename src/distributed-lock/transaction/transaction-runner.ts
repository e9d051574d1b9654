import type { Duration } from '../distributed-lock.duration.js';

/** Names of the SQL isolation levels, as TypeORM spells them. */
export type IsolationLevel =
  'READ UNCOMMITTED' | 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

/**
 * What happens when a lock is asked for inside an open transaction.
 *
 * - `reject`: `LockInsideTransactionError`; nothing is locked
 * - `hold`: the call joins the open transaction, which passes the fence there, and the lock is held until *that* transaction has ended.
 *   Refused where it is not safe: see `OuterTransaction`. While it waits for the lock, it keeps a connection busy
 * - `warn`: for a migration only: logs, and joins the open transaction. The lock is released before that
 *   transaction commits, so the race it should stop is **not** stopped
 */
export type OnOpenTransaction = 'reject' | 'hold' | 'warn';

/** Repeating a transaction that the database gave up: a deadlock, or a serialization failure. */
export interface RetryOptions {
  /** How often the transaction is tried in all, at least 1. */
  readonly attempts: number;
}

/** How one locked call runs its transaction. */
export interface TransactionOptions {
  /** Name of the DataSource. Default: the one the runner was made for, `'default'`. */
  readonly dataSource?: string;
  /** Default: what the DataSource says, else what the database says. */
  readonly isolation?: IsolationLevel;
  /** Default: the runner's own, `'reject'`. */
  readonly onOpenTransaction?: OnOpenTransaction;
  /**
   * Let the database refuse the transaction of an evicted holder, at the cost of one statement. Default: `true` where the
   * store has fencing tokens and the runner a fence; `true` where one is missing fails at boot. `false` suits methods that only read.
   */
  readonly fenced?: boolean;
  /**
   * Run the *method* again, under the same lock, when the database gave its transaction up (40001, 40P01, 1213, 1020, SQLITE_BUSY).
   * Default: the runner's, which is `false`: a method may do more than the database can undo.
   */
  readonly retry?: RetryOptions | false;
  /** Longest time that the transaction may hold a lock that is renewed. Default: the runner's, `'60s'`. */
  readonly maxHold?: Duration;
}

/** What a runner is told of the locks that its transactions run under. */
export interface LockDescription {
  /** Name of the store: `redis`, `memory`, … */
  readonly store: string;
  readonly namespace: string;
  /** Whether its holds have fencing tokens. */
  readonly hasFencingTokens: boolean;
}

/** An open transaction that the current async call chain is inside of. */
export interface OpenTransaction {
  readonly dataSource: string;
  /** Where it was opened, such as `Bar.checkout (bar.ts:41:7)`; of a locked method, its name; `null` where no stack was recorded. */
  readonly openedAt: string | null;
}

/** How an open transaction ended that locks were held in; `unknown`: it may still commit. */
export type OuterEnd = 'ended' | 'unknown';

/** An open transaction that locks can be held in until it has ended. */
export interface OuterTransaction {
  /** The same object for every call inside the same transaction. */
  readonly identity: object;
  /**
   * Sends the fence into the transaction. From then on it does not commit without the hold.
   *
   * @param ended called once; waited for by whoever ends the transaction. Of a savepoint, if the hold was let in inside one that is
   *   rolled back.
   * @throws {LockLostError | StaleFencingTokenError | FenceWaitTimeoutError | MaxHoldExceededError} not let in; `ended` is not called
   * @throws the driver's error otherwise, such as a serialization failure because the transaction's snapshot is older than the lock
   */
  keep(hold: TransactionHold, ended: (end: OuterEnd) => Promise<void>): Promise<void>;
}

/** What a transaction must know of the hold it runs under. Lock and transaction do not know each other; the executor passes this. */
export interface TransactionHold {
  /** For error texts. */
  readonly key: string;
  /** What runs under it, such as `Bar.checkout`; for error texts. */
  readonly method: string;
  /** Fires when the hold is lost. */
  readonly lost: AbortSignal;
  /** @throws {LockLostError} if the hold is not held at this moment (reads the clock, does not wait for a timer). */
  assertHeld(): void;
  /** The fencing token of each key, sorted by key; `null` where the store has none. */
  readonly fencingTokens: ReadonlyMap<string, bigint | null>;
  /** Whether the hold is renewed for as long as it takes. */
  readonly renews: boolean;
  /** Milliseconds until the hold is lost unless it is renewed; not below 0. */
  remainingMs(): number;
  /**
   * Asks the store whether it still honours the hold.
   *
   * @returns `null` if the store cannot answer.
   */
  confirm(): Promise<boolean | null>;
}

/**
 * Opens a transaction around a piece of work. The port between the flow and an ORM.
 *
 * @typeParam Manager - what statements are issued through: TypeORM's `EntityManager`.
 */
export interface TransactionRunner<Manager = unknown> {
  /** Told once, before anything else, what locks it works with. Runners that do not fence need no `bind`. */
  bind?(locks: LockDescription): void;

  /**
   * Checks options at boot, or when a call is described.
   *
   * @throws {LockConfigurationError} naming the option, the value and what is allowed.
   */
  check(options: TransactionOptions): void;

  /**
   * Looks through the application's instances for what it works on (DataSources and everything made from them).
   * Called once at bootstrap; what it does not know it ignores.
   *
   * @throws {LockConfigurationError} if what it needs is not there.
   */
  adopt(instances: Iterable<unknown>): void;

  /**
   * Checks at boot, after {@link adopt}, what only the database can tell.
   *
   * @throws {LockConfigurationError | FenceTableMissingError} with advice.
   */
  verify?(): Promise<void>;

  /** The transaction this async call chain is inside of, whoever opened it; `undefined` where there is none. */
  openTransaction(): OpenTransaction | undefined;

  /** What applies to this call when {@link openTransaction} finds one. */
  onOpenTransaction(options: TransactionOptions): OnOpenTransaction;

  /**
   * The transaction that {@link openTransaction} finds, to hold locks in. Runners without it refuse `onOpenTransaction: 'hold'`.
   *
   * @returns `unsafe`, in a sentence, where holding the lock until its end would not be enough: it is one of another DataSource, or
   *   it may read from a snapshot that is older than the lock.
   */
  outer?(options: TransactionOptions): Promise<OuterTransaction | { readonly unsafe: string }>;

  /** Runs `work` as if no transaction were open around it. For the documented false alarms of the detection. */
  outside<T>(work: () => T): T;

  /**
   * Runs `work` in a transaction: get a connection → START → fence → `work` → `hold.assertHeld()` → COMMIT → verify.
   * Inside an open transaction of the same chain it joins that one: no START and no COMMIT of its own.
   *
   * Resolves after the COMMIT is acknowledged; rejects after the ROLLBACK, with the error of `work` itself
   * (the same object) where that was the cause.
   *
   * @throws {LockLostError} the hold was lost before COMMIT; rolled back (`committed: false`)
   * @throws {StaleFencingTokenError} a newer holder has passed the fence; `work` did not run
   * @throws {TransactionRolledBackError} the database answered COMMIT with ROLLBACK
   * @throws {CommitOutcomeUnknownError} the connection broke during COMMIT, and the fence could not tell what became of it
   * @throws {PostCommitHookError} committed, but a subscriber or an `afterCommit` callback threw afterwards
   */
  run<T>(
    options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: Manager) => Promise<T>,
  ): Promise<T>;
}
