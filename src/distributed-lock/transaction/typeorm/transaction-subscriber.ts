import type { DataSource, EntitySubscriberInterface, QueryRunner } from 'typeorm';
import { savepointDepth } from './query-runner-internals.js';
import { enterTransaction, innermost } from './transaction-context.js';
import { TransactionRecord } from './transaction-record.js';
import type { ManagedTransaction } from './managed-transaction.js';
import { captureStack } from './opened-at.js';

/** For one transaction; on MySQL and MariaDB it stands before START. */
const SETS_ISOLATION = /^\s*SET TRANSACTION ISOLATION LEVEL (\w+(?: \w+)?)/i;

interface OfRunner {
  readonly queryRunner: QueryRunner;
}

interface OfQuery extends OfRunner {
  readonly query: string;
}

interface QueryAnswer extends OfQuery {
  readonly success: boolean;
  readonly rawResults?: unknown;
  readonly error?: unknown;
}

/**
 * Hears of every transaction of one DataSource, whoever opens it: a callback, a query runner, an interceptor, another
 * library, `save()` itself. Must be the first subscriber, so that it hears of a COMMIT even if another one throws.
 */
export class TransactionSubscriber implements EntitySubscriberInterface {
  readonly #open = new WeakMap<QueryRunner, TransactionRecord>();
  readonly #isolation = new WeakMap<QueryRunner, string>();
  readonly #locked = new WeakMap<QueryRunner, ManagedTransaction>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly recordsPlaces: () => boolean,
  ) {}

  /** The transaction of a locked call; its own guard decides about each of its statements. */
  guard(transaction: ManagedTransaction): void {
    this.#locked.set(transaction.runner, transaction);
  }

  /** A runner was made: its first transaction belongs to the chain that made it, wherever it will be started. */
  expect(runner: QueryRunner): void {
    // Drivers with one runner for everybody hand it out again and again: once per chain is enough.
    if (expected(runner) === undefined)
      enterTransaction(new TransactionRecord(this.dataSource, runner));
  }

  beforeTransactionStart({ queryRunner }: OfRunner): void {
    if (savepointDepth(queryRunner) > 0 || this.#locked.has(queryRunner)) return;
    const known = expected(queryRunner);
    const transaction = known ?? new TransactionRecord(this.dataSource, queryRunner);
    transaction.open(this.recordsPlaces() ? captureStack() : null);
    this.#open.set(queryRunner, transaction);
    if (known === undefined) enterTransaction(transaction);
  }

  beforeTransactionCommit({ queryRunner }: OfRunner): void {
    this.#locked.get(queryRunner)?.guard.beforeEnd('commit');
  }

  beforeTransactionRollback({ queryRunner }: OfRunner): void {
    this.#locked.get(queryRunner)?.guard.beforeEnd('rollback');
  }

  beforeQuery({ queryRunner, query }: OfQuery): void {
    const isolation = SETS_ISOLATION.exec(query)?.[1];
    if (isolation !== undefined) this.#isolation.set(queryRunner, isolation);
    this.#recordOf(queryRunner)?.kept?.beforeStatement(query);
    this.#locked.get(queryRunner)?.guard.beforeStatement(query);
  }

  afterQuery({ queryRunner, query, success, rawResults, error }: QueryAnswer): void {
    if (!success) this.#recordOf(queryRunner)?.kept?.afterFailure(error);
    this.#locked
      .get(queryRunner)
      ?.guard.afterStatement(query, success ? { rawResults } : { error });
  }

  /** TypeORM waits for the promise: locks that are held until the end are released before whoever ends it goes on. */
  async afterTransactionCommit({ queryRunner }: OfRunner): Promise<void> {
    await this.#ended(queryRunner);
  }

  async afterTransactionRollback({ queryRunner }: OfRunner): Promise<void> {
    // The same events tell of savepoints; then the transaction is still active.
    if (queryRunner.isTransactionActive)
      await this.#recordOf(queryRunner)?.kept?.savepointRolledBack(savepointDepth(queryRunner));
    else await this.#ended(queryRunner);
  }

  /** The isolation level that was set for the runner's transaction, by TypeORM or by hand; `undefined`: that of its session. */
  isolationOf(runner: QueryRunner): string | undefined {
    return this.#isolation.get(runner);
  }

  async #ended(runner: QueryRunner): Promise<void> {
    if (runner.isTransactionActive) return;
    this.#isolation.delete(runner);
    const transaction = this.#open.get(runner);
    transaction?.end();
    await transaction?.kept?.transactionEnded('ended');
  }

  #recordOf(runner: QueryRunner): TransactionRecord | undefined {
    return this.#locked.get(runner) ?? this.#open.get(runner);
  }
}

function expected(runner: QueryRunner): TransactionRecord | undefined {
  return innermost((transaction) => transaction.runner === runner && transaction.isExpected);
}
