import { DataSource } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import type {
  IsolationLevel,
  OnOpenTransaction,
  TransactionOptions,
} from '../transaction-runner.js';

/** Options of `typeormTransactions`. */
export interface TypeOrmTransactionsOptions {
  /**
   * Which DataSources take part: names as in `TypeOrmModule.forRoot({ name })`, or the objects. The first is the default of
   * a call. Default: all that the application has; then the default of a call is `'default'`, or the only one.
   */
  readonly dataSource?: DataSource | string | readonly (DataSource | string)[];
  /** Default `'reject'`. */
  readonly onOpenTransaction?: OnOpenTransaction;
  /**
   * Record where each transaction is opened, so that `LockInsideTransactionError` can say it. Costs one captured stack
   * per transaction. Default `true`.
   */
  readonly recordPlaces?: boolean;
  /**
   * Told once per place what is wrong but not an error: a lock inside a transaction with `onOpenTransaction: 'warn'`, a
   * rollback that failed. Default: `process.emitWarning`.
   */
  readonly onWarning?: (message: string) => void;
}

/** The options, checked. */
export interface ResolvedTypeOrmOptions {
  /** Empty: all that the application has. */
  readonly dataSources: readonly (DataSource | string)[];
  readonly onOpenTransaction: OnOpenTransaction;
  readonly recordPlaces: boolean;
  readonly onWarning: (message: string) => void;
}

const KNOWN = ['dataSource', 'onOpenTransaction', 'recordPlaces', 'onWarning'];
const KNOWN_OF_A_CALL = ['dataSource', 'isolation', 'onOpenTransaction'];

const ON_OPEN_TRANSACTION: readonly OnOpenTransaction[] = ['reject', 'warn'];
const ISOLATION_LEVELS: readonly IsolationLevel[] = [
  'READ UNCOMMITTED',
  'READ COMMITTED',
  'REPEATABLE READ',
  'SERIALIZABLE',
];

/** @throws {LockConfigurationError} naming the option, the value and what is allowed. */
export function resolveTypeOrmOptions(options: TypeOrmTransactionsOptions): ResolvedTypeOrmOptions {
  refuseUnknownOptions('transactions.', options, KNOWN);
  oneOf('transactions.onOpenTransaction', options.onOpenTransaction, ON_OPEN_TRANSACTION);
  if (options.onWarning !== undefined && typeof options.onWarning !== 'function') {
    throw new LockConfigurationError(
      `Option "transactions.onWarning" is ${show(options.onWarning)}; allowed: a function.`,
    );
  }
  return {
    dataSources: dataSourceList(options.dataSource),
    onOpenTransaction: options.onOpenTransaction ?? 'reject',
    recordPlaces: booleanOption('transactions.recordPlaces', options.recordPlaces, true),
    onWarning:
      options.onWarning ?? ((message) => process.emitWarning(message, 'DistributedLockWarning')),
  };
}

/** @throws {LockConfigurationError} naming the option of the call, the value and what is allowed. */
export function checkCallOptions(options: TransactionOptions): void {
  refuseUnknownOptions('transaction.', options, KNOWN_OF_A_CALL);
  oneOf('transaction.isolation', options.isolation, ISOLATION_LEVELS);
  oneOf('transaction.onOpenTransaction', options.onOpenTransaction, ON_OPEN_TRANSACTION);
  if (options.dataSource !== undefined && !isName(options.dataSource)) {
    throw new LockConfigurationError(
      `Option "transaction.dataSource" is ${show(options.dataSource)}; allowed: the name of a DataSource.`,
    );
  }
}

function oneOf(option: string, value: unknown, allowed: readonly string[]): void {
  if (value === undefined || (typeof value === 'string' && allowed.includes(value))) return;
  const list = allowed.map((each) => `'${each}'`).join(', ');
  throw new LockConfigurationError(`Option "${option}" is ${show(value)}; allowed: ${list}.`);
}

function dataSourceList(value: unknown): readonly (DataSource | string)[] {
  if (value === undefined) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length > 0 && list.every(isDataSourceOption)) return list;
  throw new LockConfigurationError(
    `Option "transactions.dataSource" is ${show(value)}; allowed: the name of a DataSource, a DataSource, or a list of them.`,
  );
}

function isDataSourceOption(value: unknown): value is DataSource | string {
  return isName(value) || value instanceof DataSource;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
