import type { DataSource, EntitySubscriberInterface, QueryRunner } from 'typeorm';
import { savepointDepth } from './query-runner-internals.js';
import { enterTransaction, innermost } from './transaction-context.js';
import { TransactionRecord } from './transaction-record.js';
import type { ManagedTransaction } from './managed-transaction.js';
import { captureStack } from './opened-at.js';

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
    this.#locked.get(queryRunner)?.guard.beforeStatement(query);
  }

  afterQuery({ queryRunner, query, success, rawResults, error }: QueryAnswer): void {
    this.#locked
      .get(queryRunner)
      ?.guard.afterStatement(query, success ? { rawResults } : { error });
  }

  afterTransactionCommit({ queryRunner }: OfRunner): void {
    this.#ended(queryRunner);
  }

  afterTransactionRollback({ queryRunner }: OfRunner): void {
    this.#ended(queryRunner);
  }

  #ended(runner: QueryRunner): void {
    // The same events tell of savepoints; then the transaction is still active.
    if (!runner.isTransactionActive) this.#open.get(runner)?.end();
  }
}

function expected(runner: QueryRunner): TransactionRecord | undefined {
  return innermost((transaction) => transaction.runner === runner && transaction.isExpected);
}
