import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { around } from './around.js';
import type { FencePass } from './fence/fence-pass.js';
import { type FenceOptions, FenceTable } from './fence/fence-table.js';
import { ManagedTransaction } from './managed-transaction.js';
import { isBound, joinDataSource, joinManager } from './native-joining.js';
import { SINGLE_CONNECTION, SingleConnection } from './single-connection.js';
import { confined, innermost, innermostJoined } from './transaction-context.js';
import type { TransactionRecord } from './transaction-record.js';
import { takeHandedOver, type TransactionMode } from './transaction-mode.js';
import { TransactionSubscriber } from './transaction-subscriber.js';
import type { TransactionHold } from '../transaction-runner.js';

/** One adoption per DataSource, however many runners and applications use it. */
const adopted = new WeakMap<DataSource, AdoptedDataSource>();

/** The name that `TypeOrmModule.forRoot({ name })` gave it; `'default'` without one. */
export function dataSourceName(dataSource: DataSource): string {
  // TypeORM 1 took `name` out of the types; Nest still passes it.
  return (dataSource.options as { readonly name?: string }).name ?? 'default';
}

/**
 * A DataSource whose transactions are noticed and whose repositories join the transaction of a locked call.
 * It need not be initialized yet, and may be destroyed and initialized again.
 */
export class AdoptedDataSource {
  readonly #createQueryRunner: () => QueryRunner;
  readonly #subscriber: TransactionSubscriber;
  readonly #managers = new WeakSet<EntityManager>();
  #recordsPlaces: boolean | undefined;

  private constructor(
    readonly dataSource: DataSource,
    /** Whose transactions its repositories join; `null`: those of locked methods, by themselves. */
    private readonly mode: TransactionMode | null,
  ) {
    if (SINGLE_CONNECTION.has(dataSource.options.type))
      new SingleConnection(dataSource.driver).install();
    this.#createQueryRunner = dataSource.createQueryRunner.bind(dataSource);
    this.#subscriber = new TransactionSubscriber(dataSource, () => this.recordsPlaces);
    keepFirst(dataSource, this.#subscriber);
    if (mode === null) {
      joinDataSource(
        dataSource,
        () => this.#joinedRunner(),
        (manager) => this.adoptManager(manager),
      );
    }
    around(dataSource, 'createQueryRunner', (create) => {
      const handed = takeHandedOver(dataSource);
      if (handed !== undefined) return handed;
      const runner = create() as QueryRunner;
      this.#subscriber.expect(runner);
      return runner;
    });
    this.adoptManager(dataSource.manager);
  }

  /**
   * Idempotent.
   *
   * @throws {LockConfigurationError} if another library has patched the DataSource for the same purpose, or has not although it should.
   */
  static of(dataSource: DataSource, mode: TransactionMode | null = null): AdoptedDataSource {
    checkPatches(dataSource, mode);
    let adoption = adopted.get(dataSource);
    if (adoption === undefined) {
      adoption = new AdoptedDataSource(dataSource, mode);
      adopted.set(dataSource, adoption);
    }
    if (adoption.mode?.library !== mode?.library) {
      throw new LockConfigurationError(
        `DataSource "${dataSourceName(dataSource)}" is used with two values of the option "transactions.mode": ` +
          `${adoption.mode?.library ?? 'none'} and ${mode?.library ?? 'none'}; allowed: one. (lockedDataSource is for none.)`,
      );
    }
    return adoption;
  }

  get name(): string {
    return dataSourceName(this.dataSource);
  }

  /** Whether errors can say where a transaction was opened. `true` until told otherwise by all who use the DataSource. */
  get recordsPlaces(): boolean {
    return this.#recordsPlaces ?? true;
  }

  recordPlaces(wanted: boolean): void {
    this.#recordsPlaces = wanted || (this.#recordsPlaces ?? false);
  }

  adoptManager(manager: EntityManager): void {
    if (this.#managers.has(manager) || isBound(manager)) return;
    this.#managers.add(manager);
    if (this.mode !== null) around(manager, 'transaction', confined);
    else joinManager(manager, () => this.#joinedRunner());
  }

  /** The transaction on this DataSource that the current chain is inside of, whoever opened it. */
  openTransaction(): TransactionRecord | undefined {
    return innermost(
      (transaction) => transaction.dataSource === this.dataSource && transaction.isOpen,
    );
  }

  /** The isolation level that was set for an open transaction; `undefined`: that of its session. */
  isolationOf({ runner }: TransactionRecord): string | undefined {
    return this.#subscriber.isolationOf(runner);
  }

  /** The fence's table in this DataSource; `null` where there is no dialect for it. */
  fenceTable(options: FenceOptions): FenceTable | null {
    return FenceTable.of(this.dataSource, this.#createQueryRunner, this.name, options);
  }

  /** A transaction for a locked call; not yet started. */
  newTransaction(
    hold: TransactionHold,
    fence: FencePass | null,
    report: (message: string) => void,
  ): ManagedTransaction {
    const runner = this.#createQueryRunner();
    const transaction = new ManagedTransaction(this.dataSource, runner, hold, fence, report);
    this.#subscriber.guard(transaction);
    return transaction;
  }

  #joinedRunner(): QueryRunner | undefined {
    return innermostJoined((transaction) => transaction.dataSource === this.dataSource)
      ?.joinedRunner;
  }
}

function checkPatches(dataSource: DataSource, mode: TransactionMode | null): void {
  const isPatched = Object.getOwnPropertyDescriptor(dataSource, 'manager')?.get !== undefined;
  if (isPatched === (mode?.patchesDataSources ?? false)) return;
  const name = dataSourceName(dataSource);
  throw new LockConfigurationError(
    isPatched
      ? `DataSource "${name}" is patched by typeorm-transactional (addTransactionalDataSource); ` +
          'two libraries cannot both decide which transaction a repository joins. Let that one do it: ' +
          'typeormTransactions({ mode: typeormTransactional({ runInTransaction }) }); or remove that call for this DataSource, ' +
          'or name other ones in the option "transactions.dataSource".'
      : `Option "transactions.mode" is ${mode?.library}, but DataSource "${name}" is not known to it. Call addTransactionalDataSource ` +
          'in the dataSourceFactory of TypeOrmModule.forRootAsync.',
  );
}

/** `initialize()` replaces the list of subscribers; whatever it is replaced by, ours stays the first. */
function keepFirst(dataSource: DataSource, subscriber: TransactionSubscriber): void {
  const withOurs = (others: DataSource['subscribers']): DataSource['subscribers'] => [
    subscriber,
    ...others.filter((other) => other !== subscriber),
  ];
  let subscribers = withOurs(dataSource.subscribers);
  Object.defineProperty(dataSource, 'subscribers', {
    configurable: true,
    enumerable: true,
    get: () => subscribers,
    set: (others: DataSource['subscribers']) => {
      subscribers = withOurs(others);
    },
  });
}
