import { DataSource } from 'typeorm';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import type {
  IsolationLevel,
  OnOpenTransaction,
  RetryOptions,
  TransactionOptions,
} from '../transaction-runner.js';
import type { FenceDialect } from './fence/fence-dialect.js';
import type { TransactionMode } from './transaction-mode.js';
import type { FenceOptions } from './fence/fence-table.js';

/** Options of `typeormTransactions`. */
export interface TypeOrmTransactionsOptions {
  /**
   * Which DataSources take part: names as in `TypeOrmModule.forRoot({ name })`, or the objects. The first is the default of
   * a call. Default: all that the application has; then the default of a call is `'default'`, or the only one.
   */
  readonly dataSource?: DataSource | string | readonly (DataSource | string)[];
  /**
   * The library that the application's transactions belong to: `typeormTransactional({ runInTransaction })` or
   * `nestjsCls({ TransactionHost })`. Default: none; then everything made from the DataSource joins by itself.
   */
  readonly mode?: TransactionMode;
  /** Default `'reject'`. */
  readonly onOpenTransaction?: OnOpenTransaction;
  /**
   * Refuse the transactions of evicted holders: the first statement of each one writes the fencing token into a table, which must
   * exist (see `LockFenceMigration`). Default: on, where the store has fencing tokens and the DataSource is one that there is a fence
   * for (PostgreSQL, MariaDB, MySQL, SQLite). `false`: no table, no statement, no promise.
   */
  readonly fence?: boolean | FenceOptions;
  /**
   * Run a method again, under the same lock, when the database gave its transaction up. Default `false`; of a call, its option `retry`.
   * (A transaction whose method has not run yet is always tried again.)
   */
  readonly retry?: RetryOptions | false;
  /** Longest time that a transaction may hold a lock that is renewed. Default `'60s'`; of a call, its option `maxHold`. */
  readonly maxHold?: Duration;
  /**
   * Record where each transaction is opened, so that `LockInsideTransactionError` can say it. Costs one captured stack
   * per transaction; none for those of locked methods, which have a name. Default `true`.
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
  /** `null`: nobody else's transactions. */
  readonly mode: TransactionMode | null;
  readonly recordPlaces: boolean;
  readonly onWarning: (message: string) => void;
  /** `null`: never. */
  readonly fence: FenceOptions | null;
  /** How often a method may run in one call. */
  readonly attempts: number;
  readonly maxHoldMs: number;
}

const KNOWN = [
  'dataSource',
  'mode',
  'onOpenTransaction',
  'recordPlaces',
  'onWarning',
  'fence',
  'retry',
  'maxHold',
];
const KNOWN_OF_A_CALL = [
  'dataSource',
  'isolation',
  'onOpenTransaction',
  'fenced',
  'retry',
  'maxHold',
];
/** A name, and a schema before it. */
const TABLE_NAME = /^[^.\0]+(?:\.[^.\0]+)?$/;
const KNOWN_OF_FENCE = ['table', 'dialect', 'prepared'];
const DEFAULT_MAX_HOLD = '60s';
const MIN_MAX_HOLD_MS = 100;

const ON_OPEN_TRANSACTION: readonly OnOpenTransaction[] = ['reject', 'hold', 'warn'];
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
    mode: modeOption(options.mode),
    recordPlaces: booleanOption('transactions.recordPlaces', options.recordPlaces, true),
    onWarning:
      options.onWarning ?? ((message) => process.emitWarning(message, 'DistributedLockWarning')),
    fence: fenceOptions(options.fence),
    attempts: attemptsOf('transactions.retry', options.retry, 1),
    maxHoldMs: durationMs(
      'transactions.maxHold',
      options.maxHold ?? DEFAULT_MAX_HOLD,
      MIN_MAX_HOLD_MS,
    ),
  };
}

/** @throws {LockConfigurationError} naming the option of the call, the value and what is allowed. */
export function checkCallOptions(options: TransactionOptions): void {
  refuseUnknownOptions('transaction.', options, KNOWN_OF_A_CALL);
  oneOf('transaction.isolation', options.isolation, ISOLATION_LEVELS);
  oneOf('transaction.onOpenTransaction', options.onOpenTransaction, ON_OPEN_TRANSACTION);
  booleanOption('transaction.fenced', options.fenced, true);
  attemptsOf('transaction.retry', options.retry, 1);
  if (options.maxHold !== undefined)
    durationMs('transaction.maxHold', options.maxHold, MIN_MAX_HOLD_MS);
  if (options.dataSource !== undefined && !isName(options.dataSource)) {
    throw new LockConfigurationError(
      `Option "transaction.dataSource" is ${show(options.dataSource)}; allowed: the name of a DataSource.`,
    );
  }
}

/** @returns how often a method may run in one call. */
export function attemptsOf(option: string, given: unknown, fallback: number): number {
  if (given === undefined) return fallback;
  if (given === false) return 1;
  if (typeof given === 'object' && given !== null) {
    refuseUnknownOptions(`${option}.`, given, ['attempts']);
    const { attempts } = given as Partial<RetryOptions>;
    if (Number.isSafeInteger(attempts) && attempts! >= 1) return attempts!;
  }
  throw new LockConfigurationError(
    `Option "${option}" is ${show(given)}; allowed: false, or { attempts } with a whole number from 1.`,
  );
}

/** Of a call, checked before. */
export function maxHoldOf(options: TransactionOptions, fallbackMs: number): number {
  return options.maxHold === undefined
    ? fallbackMs
    : durationMs('transaction.maxHold', options.maxHold, MIN_MAX_HOLD_MS);
}

function modeOption(given: TransactionMode | undefined): TransactionMode | null {
  if (given === undefined) return null;
  if (typeof (given as Partial<TransactionMode> | null)?.open === 'function') return given;
  throw new LockConfigurationError(
    `Option "transactions.mode" is ${show(given)}; allowed: typeormTransactional({ runInTransaction }), nestjsCls({ TransactionHost }).`,
  );
}

function fenceOptions(given: unknown): FenceOptions | null {
  if (given === false) return null;
  if (given === undefined || given === true) return {};
  if (typeof given !== 'object' || given === null) {
    throw new LockConfigurationError(
      `Option "transactions.fence" is ${show(given)}; allowed: true, false, or an object with ${KNOWN_OF_FENCE.join(', ')}.`,
    );
  }
  refuseUnknownOptions('transactions.fence.', given, KNOWN_OF_FENCE);
  const { table, prepared, dialect } = given as FenceOptions;
  booleanOption('transactions.fence.prepared', prepared, false);
  if (table !== undefined && !(typeof table === 'string' && TABLE_NAME.test(table))) {
    throw new LockConfigurationError(
      `Option "transactions.fence.table" is ${show(table)}; allowed: a name, such as 'lock_fence' or 'schema.lock_fence'.`,
    );
  }
  if (
    dialect !== undefined &&
    typeof (dialect as Partial<FenceDialect> | null)?.enter !== 'function'
  ) {
    throw new LockConfigurationError(
      `Option "transactions.fence.dialect" is ${show(dialect)}; allowed: a FenceDialect.`,
    );
  }
  return given;
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
