import { demandOffer } from './distributed-lock.admission.js';
import { durationMs, show } from './distributed-lock.duration.js';
import { LockConfigurationError } from './distributed-lock.errors.js';
import {
  booleanOption,
  checkNamespace,
  type DistributedLockModuleOptions,
  refuseUnknownOptions,
  type ResolvedTimes,
  resolveTimes,
} from './distributed-lock.options.js';
import type { LockStore } from './store/lock-store.js';
import type { TransactionRunner } from './transaction/transaction-runner.js';

/** The options of a module with their defaults, all checked. */
export interface CheckedModuleOptions {
  readonly store: LockStore;
  readonly fair: boolean;
  readonly namespace: string;
  readonly times: ResolvedTimes;
  readonly transactions: TransactionRunner | null;
  readonly connectOnBoot: boolean;
  readonly shutdownGraceMs: number;
}

const KNOWN: readonly (keyof DistributedLockModuleOptions)[] = [
  'store',
  'namespace',
  'waitTime',
  'leaseTime',
  'renew',
  'fair',
  'maxWaiters',
  'awaitRelease',
  'transactions',
  'connectOnBoot',
  'shutdownGrace',
];

const DEFAULT_NAMESPACE = 'lock';
const DEFAULT_SHUTDOWN_GRACE = '5s';

/** @throws {LockConfigurationError} naming the option, what was given and what is allowed. */
export function checkModuleOptions(given: unknown): CheckedModuleOptions {
  if (typeof given !== 'object' || given === null) {
    throw new LockConfigurationError(
      `The options of DistributedLockModule are ${show(given)}; allowed: an object, such as { store: memoryStore() }.`,
    );
  }
  refuseUnknownOptions('', given, KNOWN);
  const options = given as Partial<DistributedLockModuleOptions>;
  const store = checkStore(options.store);
  return {
    store,
    fair: checkFair(options.fair, store),
    namespace: checkNamespace(options.namespace ?? DEFAULT_NAMESPACE),
    times: resolveTimes(options),
    transactions: checkTransactions(options.transactions),
    connectOnBoot: booleanOption('connectOnBoot', options.connectOnBoot, true),
    shutdownGraceMs: durationMs(
      'shutdownGrace',
      options.shutdownGrace ?? DEFAULT_SHUTDOWN_GRACE,
      0,
    ),
  };
}

function checkStore(given: unknown): LockStore {
  if (hasMethods(given, ['open', 'acquire', 'renew', 'release', 'close']))
    return given as LockStore;
  throw new LockConfigurationError(
    `Option "store" is ${show(given)}; allowed: a lock store, such as redisStore({ connection }) or memoryStore().`,
  );
}

function checkFair(given: unknown, { traits }: LockStore): boolean {
  const fair = booleanOption('fair', given, false);
  if (fair && traits.fair !== 'fifo') demandOffer(traits, 'fair', 'fair', given);
  return fair;
}

function checkTransactions(given: unknown): TransactionRunner | null {
  if (given === undefined) return null;
  if (hasMethods(given, ['check', 'adopt', 'openTransaction', 'run']))
    return given as TransactionRunner;
  throw new LockConfigurationError(
    `Option "transactions" is ${show(given)}; allowed: what runs transactions, such as typeormTransactions().`,
  );
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
  );
}
