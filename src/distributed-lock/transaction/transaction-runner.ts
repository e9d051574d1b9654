/** Names of the SQL isolation levels, as TypeORM spells them. */
export type IsolationLevel =
  'READ UNCOMMITTED' | 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

/**
 * What happens when a lock is asked for inside an open transaction.
 *
 * - `reject`: `LockInsideTransactionError`; nothing is locked
 * - `warn`: for a migration only: logs, and joins the open transaction. The lock is released before that
 *   transaction commits, so the race it should stop is **not** stopped
 */
export type OnOpenTransaction = 'reject' | 'warn';

/** How one locked call runs its transaction. */
export interface TransactionOptions {
  /** Name of the DataSource. Default: the one the runner was made for, `'default'`. */
  readonly dataSource?: string;
  /** Default: what the DataSource says, else what the database says. */
  readonly isolation?: IsolationLevel;
  /** Default: the runner's own, `'reject'`. */
  readonly onOpenTransaction?: OnOpenTransaction;
}

/** An open transaction that the current async call chain is inside of. */
export interface OpenTransaction {
  readonly dataSource: string;
  /** Where it was opened, such as `Bar.checkout (bar.ts:41:7)`; `null` where no stack was recorded. */
  readonly openedAt: string | null;
}

/** What a transaction must know of the hold it runs under. Lock and transaction do not know each other; the executor passes this. */
export interface TransactionHold {
  /** For error texts. */
  readonly key: string;
  /** Fires when the hold is lost. */
  readonly lost: AbortSignal;
  /** @throws {LockLostError} if the hold is not held at this moment (reads the clock, does not wait for a timer). */
  assertHeld(): void;
}

/**
 * Opens a transaction around a piece of work. The port between the flow and an ORM.
 *
 * @typeParam Manager - what statements are issued through: TypeORM's `EntityManager`.
 */
export interface TransactionRunner<Manager = unknown> {
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

  /** The transaction this async call chain is inside of, whoever opened it; `undefined` where there is none. */
  openTransaction(): OpenTransaction | undefined;

  /** What applies to this call when {@link openTransaction} finds one. */
  onOpenTransaction(options: TransactionOptions): OnOpenTransaction;

  /** Runs `work` as if no transaction were open around it. For the documented false alarms of the detection. */
  outside<T>(work: () => T): T;

  /**
   * Runs `work` in a transaction: get a connection → START → `work` → `hold.assertHeld()` → COMMIT → verify.
   * Inside an open transaction of the same chain it joins that one: no START and no COMMIT of its own.
   *
   * Resolves after the COMMIT is acknowledged; rejects after the ROLLBACK, with the error of `work` itself
   * (the same object) where that was the cause.
   *
   * @throws {LockLostError} the hold was lost before COMMIT; rolled back (`committed: false`)
   * @throws {TransactionRolledBackError} the database answered COMMIT with ROLLBACK
   * @throws {CommitOutcomeUnknownError} the connection broke during COMMIT
   * @throws {PostCommitHookError} committed, but a subscriber threw afterwards
   */
  run<T>(
    options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: Manager) => Promise<T>,
  ): Promise<T>;
}
