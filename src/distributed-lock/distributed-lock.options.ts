import type { LockAdmission } from './distributed-lock.admission.js';
import { type Duration, durationMs, show } from './distributed-lock.duration.js';
import {
  LockConfigurationError,
  type LockQueueFullError,
  type LockWaitTimeoutError,
} from './distributed-lock.errors.js';
import type { LockKey } from './key/lock-key.js';
import type { LockStore } from './store/lock-store.js';
import type { TransactionOptions, TransactionRunner } from './transaction/transaction-runner.js';

/** Shortest lease: below it, renewals would flood the store and ordinary pauses would lose the lock. */
export const MIN_LEASE_TIME_MS = 100;

/** What an `onTimeout` function is told. */
export interface TimeoutContext {
  readonly keys: readonly LockKey[];
  /** `Class.method`. */
  readonly method: string;
  readonly args: readonly unknown[];
  readonly waitTimeMs: number;
  /** What `'throw'` would have thrown: the wait time was over, or too many calls waited already. */
  readonly error: LockWaitTimeoutError | LockQueueFullError;
}

/**
 * What a call does when it did not get the lock in time, or was not let into a full queue.
 *
 * - `'throw'`: rejects with `LockWaitTimeoutError`, or `LockQueueFullError`
 * - `'skip'`: resolves with `undefined`; the method does not run
 * - a function: its value (or promise) is the result; the method does not run
 */
export type OnTimeout = 'throw' | 'skip' | ((context: TimeoutContext) => unknown);

/** How a lock is taken and held. Every option falls back to the module's. */
export interface LockTimes {
  /** How long a call queues before it gives up. `0` tries once. Default `'10s'`. */
  readonly waitTime?: Duration;
  /** How long a grant outlives its last renewal, at least 100 ms. Default `'30s'`. */
  readonly leaseTime?: Duration;
  /** Renew while held. `false` makes the lease a hard limit: the hold is lost when it is over. Default `true`. */
  readonly renew?: boolean;
  /**
   * How many calls of this process may wait for one key, from 1, behind the one that has it or asks for it next; one more is
   * refused at once with `LockQueueFullError`. Calls without the option, and those that do not wait (`waitTime: 0`), are neither counted nor refused. Default: any number.
   */
  readonly maxWaiters?: number;
  /**
   * Whether the caller's answer waits until the store has confirmed the release. `false`: the answer comes as soon as the method (and its transaction)
   * has ended, one round trip earlier; the release is on its way by then, and one that fails is the event `release-failed`
   * and told again, as ever. What `hold.release()` answers always waits. Default `true`.
   */
  readonly awaitRelease?: boolean;
}

/** How long a hold lasts at least and at most, for scheduled jobs. A nested call that joins its caller's hold has that one's. */
export interface HoldBounds {
  /**
   * The key stays closed until so long after it was acquired, however early the hold ends: servers whose clocks differ by less do not run one tick
   * of a schedule twice. Counted by the server where the store can (trait `keeps`), else by this process while it lives. A hold that is lost is not kept. Default: not.
   */
  readonly holdAtLeast?: Duration;
  /**
   * The hold is lost after so long (`hold.lost`; its transaction is rolled back), and not renewed past that. At least 100 ms, and `holdAtLeast`.
   * Default: as long as it is renewed.
   */
  readonly holdAtMost?: Duration;
}

/** Options of `withLock`, `withTransaction`, `acquire` and `tryAcquire`. */
export interface LockOptions extends LockTimes, HoldBounds, LockAdmission {
  /** Ends the wait; the call rejects with the signal's reason. Has no effect once the lock is held. */
  readonly signal?: AbortSignal;
}

/**
 * Whose callers exclude each other.
 *
 * - `'global'`: all that lock an equal key, whatever their methods
 * - `'method'`: the calls of this method; the key is prefixed with `Class#method:`, where the class is the one that has the decorator
 */
export type LockScope = 'global' | 'method';

/** Options of one locked method. */
export interface LockMethodOptions extends LockTimes, HoldBounds, LockAdmission {
  /**
   * Default `'global'`. `'method'` reads the name of the class: code that is minified must keep it (`keepNames`, `keep_classnames`), or
   * servers with different builds lock different keys. Two classes of one name that would share keys are refused at boot.
   */
  readonly scope?: LockScope;
  /**
   * Run the method in a transaction that commits before the lock is released.
   * Default: `true` when the module has `transactions`, else `false`.
   */
  readonly transaction?: boolean | TransactionOptions;
  /** Default `'throw'`. */
  readonly onTimeout?: OnTimeout;
}

/** Options of `DistributedLockModule.forRoot`. */
export interface DistributedLockModuleOptions extends LockTimes {
  /** Where lock state lives, such as `redisStore({ connection })` or `memoryStore()`. */
  readonly store: LockStore;
  /** Serve callers in order of arrival over all servers; see {@link LockAdmission.fair}. Default `false`. */
  readonly fair?: boolean;
  /** Prefix of every key in the store: letters, digits, `.`, `_`, `-`. Default `'lock'`. */
  readonly namespace?: string;
  /** How methods are run in a transaction, such as `typeormTransactions()`. Default: no transactions. */
  readonly transactions?: TransactionRunner;
  /**
   * What to do when the store cannot be reached at boot: `true` refuses to start, within 5 s; `false` starts, and calls
   * reject with `LockStoreUnavailableError` until it is there. Default `true`.
   */
  readonly connectOnBoot?: boolean;
  /** How long `app.close()` lets running methods finish before their holds are given up. Default `'5s'`. */
  readonly shutdownGrace?: Duration;
}

/** The times of one call, checked, in milliseconds. */
export interface ResolvedTimes {
  readonly waitTimeMs: number;
  readonly leaseTimeMs: number;
  readonly renew: boolean;
  /** Without one, any number. */
  readonly maxWaiters?: number;
  readonly holdAtLeastMs?: number;
  readonly holdAtMostMs?: number;
  /** Default `true`. */
  readonly awaitRelease?: boolean;
}

const DEFAULT_TIMES: ResolvedTimes = {
  waitTimeMs: 10_000,
  leaseTimeMs: 30_000,
  renew: true,
};

/**
 * @param where prefix of the option in messages: `''` for the module, `'QuoteService.submit: '` for a method.
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function resolveTimes(
  given: LockTimes & HoldBounds,
  defaults: ResolvedTimes = DEFAULT_TIMES,
  where = '',
): ResolvedTimes {
  const maxWaiters = given.maxWaiters ?? defaults.maxWaiters;
  return {
    waitTimeMs:
      given.waitTime === undefined
        ? defaults.waitTimeMs
        : durationMs(`${where}waitTime`, given.waitTime, 0),
    leaseTimeMs:
      given.leaseTime === undefined
        ? defaults.leaseTimeMs
        : durationMs(`${where}leaseTime`, given.leaseTime, MIN_LEASE_TIME_MS),
    renew: booleanOption(`${where}renew`, given.renew, defaults.renew),
    ...(maxWaiters !== undefined && { maxWaiters: checkMaxWaiters(where, maxWaiters) }),
    ...resolveBounds(given, where),
    awaitRelease: booleanOption(
      `${where}awaitRelease`,
      given.awaitRelease,
      defaults.awaitRelease ?? true,
    ),
  };
}

function resolveBounds(
  { holdAtLeast, holdAtMost }: HoldBounds,
  where: string,
): Pick<ResolvedTimes, 'holdAtLeastMs' | 'holdAtMostMs'> {
  const atLeast = holdAtLeast === undefined ? 0 : durationMs(`${where}holdAtLeast`, holdAtLeast, 0);
  const atMost =
    holdAtMost === undefined
      ? Infinity
      : durationMs(`${where}holdAtMost`, holdAtMost, MIN_LEASE_TIME_MS);
  if (atLeast > atMost) {
    throw new LockConfigurationError(
      `Option "${where}holdAtLeast" is ${show(holdAtLeast)}; allowed: at most "holdAtMost", which is ${show(holdAtMost)}.`,
    );
  }
  return {
    ...(atLeast > 0 && { holdAtLeastMs: atLeast }),
    ...(atMost < Infinity && { holdAtMostMs: atMost }),
  };
}

function checkMaxWaiters(where: string, value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number;
  throw new LockConfigurationError(
    `Option "${where}maxWaiters" is ${show(value)}; allowed: a whole number from 1.`,
  );
}

export function booleanOption(option: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new LockConfigurationError(`Option "${option}" is ${show(value)}; allowed: true, false.`);
}

/** @throws {LockConfigurationError} for a name that is not among `known`: a misspelt option is never ignored. */
export function refuseUnknownOptions(where: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    throw new LockConfigurationError(
      `Option "${where}${name}" is not known (given: ${show((given as Record<string, unknown>)[name])}); allowed: ${known.join(', ')}.`,
    );
  }
}

/** @throws {LockConfigurationError} unless the namespace is safe in keys, channels and paths of every store. */
export function checkNamespace(value: unknown): string {
  if (typeof value === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(value)) return value;
  throw new LockConfigurationError(
    `Option "namespace" is ${show(value)}; allowed: 1 to 64 of the characters A-Z a-z 0-9 . _ -`,
  );
}
