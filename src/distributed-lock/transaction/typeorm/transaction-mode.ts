import { AsyncLocalStorage } from 'node:async_hooks';
import type { DataSource, QueryRunner } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/** Another library that the application's transactions belong to: it opens those of locked methods, too. */
export interface TransactionMode {
  /** For messages. */
  readonly library: string;
  /** Whether the library patches the DataSources that it works with, so that their repositories join. */
  readonly patchesDataSources: boolean;
  /** Lets the library open one transaction with `dataSource.transaction(…)`, whatever is open already, and run `work` in it. */
  open<T>(dataSource: string, work: () => Promise<T>): Promise<T>;
}

/** `runInTransaction` of the package typeorm-transactional. */
type RunInTransaction = <T>(
  work: () => Promise<T>,
  options: { readonly connectionName: string },
) => Promise<T>;

/** `TransactionHost` of the package `@nestjs-cls/transactional`, as far as it is used. */
interface TransactionHostClass {
  getInstance(connectionName?: string): {
    withTransaction<T>(
      propagation: 'REQUIRES_NEW',
      options: object,
      work: () => Promise<T>,
    ): Promise<T>;
  };
}

/**
 * Locked methods run in transactions of `typeorm-transactional`: what joins a method under its `@Transactional` joins a locked one, and
 * `@Transactional` methods that it calls join, too. Fence, checks, retries and callbacks are the same as without it.
 *
 * The DataSources are those of `addTransactionalDataSource`, by the same names.
 *
 * @throws {LockConfigurationError} unless it is given the library's own function.
 */
export function typeormTransactional(library: {
  readonly runInTransaction: RunInTransaction;
}): TransactionMode {
  const { runInTransaction } = library;
  if (typeof runInTransaction !== 'function')
    throw notGiven('typeormTransactional({ runInTransaction })', runInTransaction);
  return {
    library: 'typeorm-transactional',
    patchesDataSources: true,
    open: (connectionName, work) => runInTransaction(work, { connectionName }),
  };
}

/**
 * Locked methods run in transactions of `@nestjs-cls/transactional`: `txHost.tx` is the locked transaction, and `@Transactional` methods
 * that the method calls join it. As without a lock, injected repositories do not. A connection is named as its DataSource.
 *
 * @throws {LockConfigurationError} unless it is given the library's own class.
 */
export function nestjsCls(library: { readonly TransactionHost: object }): TransactionMode {
  const host = library.TransactionHost as Partial<TransactionHostClass> | undefined;
  if (typeof host?.getInstance !== 'function')
    throw notGiven('nestjsCls({ TransactionHost })', library.TransactionHost);
  const { TransactionHost } = library as { readonly TransactionHost: TransactionHostClass };
  return {
    library: '@nestjs-cls/transactional',
    patchesDataSources: false,
    open: (name, work) =>
      TransactionHost.getInstance(name === 'default' ? undefined : name).withTransaction(
        'REQUIRES_NEW',
        {},
        work,
      ),
  };
}

function notGiven(call: string, given: unknown): LockConfigurationError {
  return new LockConfigurationError(
    `Option "transactions.mode": ${call} was given ${show(given)}; allowed: what the package exports under that name.`,
  );
}

interface HandOver {
  readonly dataSource: DataSource;
  /** `null`: taken. */
  runner: QueryRunner | null;
}

const handOvers = new AsyncLocalStorage<HandOver>();

/** Runs `open` so that the next query runner which it makes of the DataSource is this one. */
export function handOver<T>(dataSource: DataSource, runner: QueryRunner, open: () => T): T {
  return handOvers.run({ dataSource, runner }, open);
}

/** @returns the query runner that was handed over, once; `undefined` where none was. */
export function takeHandedOver(dataSource: DataSource): QueryRunner | undefined {
  const handed = handOvers.getStore();
  if (handed === undefined || handed.runner === null || handed.dataSource !== dataSource)
    return undefined;
  const { runner } = handed;
  handed.runner = null;
  return runner;
}
