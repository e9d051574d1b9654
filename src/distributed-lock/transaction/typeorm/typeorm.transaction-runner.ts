import { DataSource, EntityManager, Repository } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import type {
  LockDescription,
  OnOpenTransaction,
  OpenTransaction,
  OuterTransaction,
  TransactionHold,
  TransactionOptions,
  TransactionRunner,
} from '../transaction-runner.js';
import { AdoptedDataSource, dataSourceName } from './adopted-data-source.js';
import { chooseDataSources } from './data-source-choice.js';
import { Fencing } from './fence/fencing.js';
import { BoundedHold } from './max-hold.js';
import { CAN_HOLD, TypeOrmOuterTransaction, unsafeToHold } from './outer-transaction.js';
import { attempted } from './transaction-attempts.js';
import { innermost, joinedTo, outsideTransactions } from './transaction-context.js';
import type { TransactionRecord } from './transaction-record.js';
import {
  attemptsOf,
  checkCallOptions,
  maxHoldOf,
  resolveTypeOrmOptions,
} from './typeorm.options.js';
import type { ResolvedTypeOrmOptions, TypeOrmTransactionsOptions } from './typeorm.options.js';

/**
 * Runs locked methods in TypeORM transactions that everything made from the DataSource joins: injected repositories and
 * managers, ActiveRecord, query builders, custom repositories; `dataSource.transaction` inside becomes a savepoint.
 */
export class TypeOrmTransactionRunner implements TransactionRunner<EntityManager> {
  readonly #options: ResolvedTypeOrmOptions;
  readonly #sources = new Map<string, AdoptedDataSource>();
  readonly #warned = new Set<string>();
  readonly #fencing: Fencing;

  constructor(options: TypeOrmTransactionsOptions) {
    this.#options = resolveTypeOrmOptions(options);
    this.#fencing = new Fencing(this.#options.fence);
    // A DataSource that is given as an object works at once, also where no Nest container will ever call `adopt`.
    if (this.#options.dataSources.some((each) => each instanceof DataSource)) {
      this.#adoptSources(
        this.#options.dataSources.filter((each) => each instanceof DataSource),
        [],
      );
    }
  }

  bind(locks: LockDescription): void {
    this.#fencing.bind(locks);
  }

  check(options: TransactionOptions): void {
    checkCallOptions(options);
    this.#fencing.expect(options);
    if (this.#sources.size === 0) return; // not adopted yet: `verify` and `run` check again
    const { dataSource } = this.#source(options);
    const { type } = dataSource.options;
    if (options.onOpenTransaction === 'hold' && !CAN_HOLD.includes(type)) {
      throw new LockConfigurationError(
        `Option "transaction.onOpenTransaction" is "hold"; allowed for ${type}: "reject", "warn". DataSources that can hold: ${CAN_HOLD.join(', ')}.`,
      );
    }
    const supported: unknown = (dataSource.driver as { supportedIsolationLevels?: unknown })
      .supportedIsolationLevels;
    if (
      options.isolation === undefined ||
      !Array.isArray(supported) ||
      supported.includes(options.isolation)
    )
      return;
    throw new LockConfigurationError(
      `Option "transaction.isolation" is ${show(options.isolation)}; allowed for ${type}: ${supported.map(show).join(', ')}.`,
    );
  }

  adopt(instances: Iterable<unknown>): void {
    const all = [...instances];
    this.#adoptSources(
      this.#options.dataSources,
      all.filter((each) => each instanceof DataSource),
    );
    for (const instance of all) {
      const manager = instance instanceof Repository ? instance.manager : instance;
      if (manager instanceof EntityManager) this.#ofManager(manager)?.adoptManager(manager);
    }
  }

  verify(): Promise<void> {
    return this.#fencing.verify(
      (options) => this.#source(options),
      this.#defaultSource() !== undefined,
    );
  }

  openTransaction(): OpenTransaction | undefined {
    const sources = [...this.#sources.values()];
    const open = innermost(
      (transaction) =>
        transaction.isOpen &&
        sources.some(({ dataSource }) => dataSource === transaction.dataSource),
    );
    return open && { dataSource: dataSourceName(open.dataSource), openedAt: open.openedAt };
  }

  onOpenTransaction(options: TransactionOptions): OnOpenTransaction {
    return options.onOpenTransaction ?? this.#options.onOpenTransaction;
  }

  async outer(
    options: TransactionOptions,
  ): Promise<OuterTransaction | { readonly unsafe: string }> {
    const source = this.#source(options);
    const open = source.openTransaction();
    const others = [...this.#sources.values()].filter((each) => each !== source);
    if (open === undefined || others.some((each) => each.openTransaction() !== undefined)) {
      return {
        unsafe: `It cannot be held until that transaction ends: the lock's own is one of DataSource ${show(source.name)}, and they end one by one.`,
      };
    }
    const isFenced = this.#fencing.isFenced(source, options);
    const unsafe = await unsafeToHold(open, isFenced, source.isolationOf(open));
    if (unsafe !== null) return { unsafe };
    const maxHoldMs = maxHoldOf(options, this.#options.maxHoldMs);
    return new TypeOrmOuterTransaction(
      open,
      (hold) => new BoundedHold(hold, maxHoldMs),
      (hold) => this.#fencing.pass(source, isFenced ? { ...options, fenced: true } : options, hold),
      maxHoldMs,
    );
  }

  outside<T>(work: () => T): T {
    return outsideTransactions(work);
  }

  async run<T>(
    options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T> {
    const source = this.#source(options);
    const open = source.openTransaction();
    if (open !== undefined) {
      if (this.onOpenTransaction(options) === 'warn' && open.key !== hold.key)
        this.#warnOfUselessLock(open, hold);
      return joinedTo(open, async () => work(open.runner.manager));
    }

    const bounded = new BoundedHold(hold, maxHoldOf(options, this.#options.maxHoldMs));
    const fence = await this.#fencing.pass(source, options, bounded);
    const onWarning = (message: string) => this.#options.onWarning(message);
    return attempted(work, {
      hold: bounded,
      isolation: options.isolation,
      attempts: attemptsOf('transaction.retry', options.retry, this.#options.attempts),
      mode: this.#options.mode,
      newTransaction: () => source.newTransaction(bounded, fence, onWarning),
      onWarning,
    });
  }

  #adoptSources(wanted: ResolvedTypeOrmOptions['dataSources'], found: readonly DataSource[]): void {
    this.#sources.clear();
    for (const [name, dataSource] of chooseDataSources(wanted, found)) {
      const source = AdoptedDataSource.of(dataSource, this.#options.mode);
      source.recordPlaces(this.#options.recordPlaces);
      this.#sources.set(name, source);
    }
  }

  #ofManager(manager: EntityManager): AdoptedDataSource | undefined {
    const { dataSource } = manager as { readonly dataSource?: DataSource };
    const owner = dataSource ?? manager.connection; // its name in TypeORM 0.3
    return [...this.#sources.values()].find((source) => source.dataSource === owner);
  }

  /** @throws {LockConfigurationError} if the call names none, or one that is not there. */
  #source(options: TransactionOptions): AdoptedDataSource {
    const { dataSource: name } = options;
    const source = name === undefined ? this.#defaultSource() : this.#sources.get(name);
    if (source !== undefined) return source;
    const names = [...this.#sources.keys()].map(show).join(', ');
    throw new LockConfigurationError(
      names === ''
        ? 'A locked method was called before the application was bootstrapped: its DataSources are not known yet. ' +
            'Call it later, or pass the DataSource: typeormTransactions({ dataSource }).'
        : `Option "transaction.dataSource" is ${show(name)}; allowed: ${names}.`,
    );
  }

  #defaultSource(): AdoptedDataSource | undefined {
    const [first] = this.#sources.values();
    const isChosen = this.#options.dataSources.length > 0 || this.#sources.size === 1;
    return isChosen ? first : this.#sources.get('default');
  }

  #warnOfUselessLock(open: TransactionRecord, hold: TransactionHold): void {
    const place = open.openedAt ?? 'an unknown place';
    if (this.#warned.has(place)) return;
    this.#warned.add(place);
    this.#options.onWarning(
      `Lock "${hold.key}" was taken inside a transaction opened at ${place}: it is released before that transaction commits ` +
        'and protects nothing. Take the lock first; then remove onOpenTransaction: "warn".',
    );
  }
}

/**
 * Transactions of TypeORM for `DistributedLockModule.forRoot({ transactions })`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function typeormTransactions(
  options: TypeOrmTransactionsOptions = {},
): TypeOrmTransactionRunner {
  return new TypeOrmTransactionRunner(options);
}
