import { ADMISSION_OPTIONS } from './distributed-lock.admission.js';
import { type Duration, MAX_DURATION_MS, show } from './distributed-lock.duration.js';
import { LockConfigurationError, LockWaitTimeoutError } from './distributed-lock.errors.js';
import type { LockEvents } from './distributed-lock.events.js';
import type { LockedCall, LockRequest } from './distributed-lock.executor.js';
import type { LeaderCallbacks, Leadership } from './distributed-lock.leadership.js';
import { LockMutex } from './distributed-lock.mutex.js';
import { forceReleaseLock, lockState, type LockState } from './distributed-lock.operator.js';
import {
  type LockOptions,
  refuseUnknownOptions,
  resolveTimes,
} from './distributed-lock.options.js';
import type { LockRuntime } from './distributed-lock.runtime.js';
import { lockKey, lockKeys } from './key/lock-key.js';
import type { Hold } from './lock/hold.js';
import type { TransactionOptions } from './transaction/transaction-runner.js';

/** One key, or several that are acquired in one order and held together. */
export type KeyOrKeys = string | readonly string[];

/** Options of {@link DistributedLockService.withTransaction}. */
export interface LockTransactionOptions extends LockOptions {
  readonly transaction?: TransactionOptions;
}

/** What {@link DistributedLockService.lead} takes. */
export interface LeaderOptions extends LeaderCallbacks {
  /** How long after a crash another candidate is elected, at the latest. Default: the module's `leaseTime`. */
  readonly leaseTime?: Duration;
}

/** What a callback of {@link DistributedLockService.withTransaction} works with. `Manager` is TypeORM's `EntityManager`. */
export interface LockedTransaction<Manager = unknown> {
  readonly hold: Hold;
  readonly manager: Manager;
}

const LOCK_OPTIONS = [
  'waitTime',
  'leaseTime',
  'renew',
  'maxWaiters',
  'holdAtLeast',
  'holdAtMost',
  'awaitRelease',
  'signal',
  ...ADMISSION_OPTIONS,
];

/**
 * The flow of `@DistributedLock` for callers without a decorator.
 *
 * Every method rejects with `LockWaitTimeoutError` if another owner kept the key for the wait time, and with
 * `LockInsideTransactionError` inside an open transaction.
 */
export class DistributedLockService {
  /** What a call without options asks for; the same for all of them, so it is worked out once. */
  #plain: Pick<LockRequest, 'times' | 'admission'> | null = null;

  constructor(private readonly runtime: LockRuntime) {}

  /** What happens to the locks of this module. */
  get events(): Pick<LockEvents, 'on'> {
    return this.runtime.events;
  }

  /** Runs `work` under the lock, without a transaction, and releases on every path. */
  withLock<T>(key: KeyOrKeys, work: (hold: Hold) => Promise<T>): Promise<T>;
  withLock<T>(key: KeyOrKeys, options: LockOptions, work: (hold: Hold) => Promise<T>): Promise<T>;
  withLock<T>(key: KeyOrKeys, ...rest: readonly unknown[]): Promise<T> {
    // What is wrong with the call rejects. (An `async` function would make one more promise for each call.)
    try {
      const { options, work } = optionsAndWork(rest, 'withLock');
      const request = this.#request('withLock', key, options);
      return this.runtime.executor.execute(call<T>(request, (hold) => work(hold) as Promise<T>));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Runs `work` in a transaction under the lock: the commit comes before the release.
   *
   * @throws {LockConfigurationError} if the module has no `transactions`.
   */
  withTransaction<T, Manager = unknown>(
    key: KeyOrKeys,
    options: LockTransactionOptions,
    work: (locked: LockedTransaction<Manager>) => Promise<T>,
  ): Promise<T>;
  withTransaction<T, Manager = unknown>(
    key: KeyOrKeys,
    work: (locked: LockedTransaction<Manager>) => Promise<T>,
  ): Promise<T>;
  async withTransaction<T>(key: KeyOrKeys, ...rest: readonly unknown[]): Promise<T> {
    const { options, work } = optionsAndWork(rest, 'withTransaction');
    const { transaction = {}, ...lockOptions } = options as LockTransactionOptions;
    if (typeof transaction !== 'object' || transaction === null) {
      throw new LockConfigurationError(
        `Option "${label('withTransaction')}: transaction" is ${show(transaction)}; allowed: the options of a transaction.`,
      );
    }
    const request = this.#request('withTransaction', key, lockOptions);
    const where = label('withTransaction');
    const { executor } = this.runtime;
    return executor.execute(
      call<T>(
        request,
        (hold, manager) => work({ hold, manager }) as Promise<T>,
        this.runtime.transactionFor(transaction, where, request.admission),
      ),
    );
  }

  /**
   * Acquires the lock and leaves the release to the caller: `await using hold = await locks.acquire('job1')`.
   *
   * @throws {LockWaitTimeoutError} if another owner kept the key for the wait time.
   */
  async acquire(key: KeyOrKeys, options: LockOptions = NO_OPTIONS): Promise<Hold> {
    return this.runtime.executor.acquire(this.#request('acquire', key, options));
  }

  /** Tries once. @returns `null` if another owner has the key; a store that cannot answer rejects. */
  async tryAcquire(
    key: KeyOrKeys,
    options: Omit<LockOptions, 'waitTime'> = {},
  ): Promise<Hold | null> {
    if ('waitTime' in options) {
      throw new LockConfigurationError(
        `Option "${label('tryAcquire')}: waitTime" is ${show(options.waitTime)}; allowed: none, it never waits. To wait, use acquire().`,
      );
    }
    const request = this.#request('tryAcquire', key, { ...options, waitTime: 0 });
    try {
      return await this.runtime.executor.acquire(request);
    } catch (error) {
      if (error instanceof LockWaitTimeoutError) return null;
      throw error;
    }
  }

  /**
   * The lock as an object, with `acquire` and `release` of its own. Nothing is asked of the store yet.
   *
   * @throws {LockConfigurationError | LockKeyError} for options or a key that could not be used.
   */
  mutex(key: KeyOrKeys, options: LockOptions = {}): LockMutex {
    this.#request('mutex', key, options);
    return new LockMutex(this, key, options);
  }

  /**
   * Leader election: of all candidates for `name`, over all processes, at most one leads at a time. Stands for election at once and for ever, also while the
   * store is away; resigns when the application closes. Errors of the callbacks are events (`leadership-failed`), and reach nobody else.
   *
   * @throws {LockConfigurationError | LockKeyError} for options or a name that cannot be used.
   */
  lead(name: string, options: LeaderOptions): Leadership {
    const where = `${label('lead')}: `;
    const given = (options ?? {}) as unknown as Record<string, unknown>;
    refuseUnknownOptions(where, given, ['onElected', 'onDeposed', 'leaseTime']);
    mustBeFunction(`${where}onElected`, given['onElected']);
    if (given['onDeposed'] !== undefined) mustBeFunction(`${where}onDeposed`, given['onDeposed']);
    const { leaseTime } = options;
    const request = this.#request('lead', lockKey(name), {
      waitTime: MAX_DURATION_MS,
      renew: true,
      ...(leaseTime !== undefined && { leaseTime }),
    });
    const { maxWaiters: _ofCalls, ...times } = request.times;
    return this.runtime.stand({ ...request, times }, options);
  }

  /**
   * Who holds the lock now, and who waits: for an operator, not for a decision of a program, since the answer may be over when it is read.
   *
   * @throws {LockConfigurationError} if the store cannot say (trait `showsHolders`).
   * @throws {LockStoreUnavailableError} if the store cannot answer.
   */
  async stateOf(key: string): Promise<LockState> {
    return lockState(this.runtime.executor.locks.store, key);
  }

  /**
   * Ends every hold of the lock, whoever has it, and lets the next waiters in: a last resort for an operator. The evicted holder goes on running until it is told
   * (`hold.lost`, reason `taken-over` or `session-ended`): at once where it can be, else at its next renewal. What it has not committed by then is refused by the fence,
   * if its successor has entered a transaction; anything else it does is not undone. See `docs/operations.md`.
   *
   * Where the store's trait `forceRelease` is `session`, every other hold of the evicted process ends with it.
   *
   * @returns how many holds of this key were ended; `0` if nobody held it.
   * @throws {LockConfigurationError} if the store cannot (trait `forceRelease`), or its server does not permit it.
   * @throws {LockStoreUnavailableError} if the store cannot answer; it may have been done.
   */
  async forceRelease(key: string): Promise<number> {
    const { store, events } = this.runtime.executor.locks;
    const holds = await forceReleaseLock(store, key);
    events.emit({ type: 'force-released', key, holds });
    return holds;
  }

  /**
   * Runs `work` as if no transaction were open around it: for work that is started inside a transaction but is no part of it.
   * Locks it takes protect nothing that the open transaction has changed.
   */
  outsideTransaction<T>(work: () => T): T {
    const { transactions } = this.runtime.executor;
    return transactions === null ? work() : transactions.outside(work);
  }

  #request(method: string, key: unknown, options: unknown): LockRequest {
    if (options === NO_OPTIONS) {
      const { times, admission } = (this.#plain ??= this.#ofOptions(method, NO_OPTIONS));
      return { method: label(method), keys: lockKeys(key), times, admission, transaction: null };
    }
    const where = `${label(method)}: `;
    if (typeof options !== 'object' || options === null) {
      throw new LockConfigurationError(
        `${where}the options are ${show(options)}; allowed: an object.`,
      );
    }
    refuseUnknownOptions(where, options, LOCK_OPTIONS);
    const { signal, ...given } = options as LockOptions;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new LockConfigurationError(
        `Option "${where}signal" is ${show(signal)}; allowed: an AbortSignal.`,
      );
    }
    const { times, admission } = this.#ofOptions(method, given);
    const keys = lockKeys(key);
    return { method: label(method), keys, times, signal, admission, transaction: null };
  }

  #ofOptions(method: string, given: LockOptions): Pick<LockRequest, 'times' | 'admission'> {
    return {
      times: resolveTimes(given, this.runtime.times, `${label(method)}: `),
      admission: this.runtime.admissionFor(given, label(method)),
    };
  }
}

/** Written out: V8 takes microseconds for a literal in which properties follow a spread, more than for the rest of an uncontended call. */
function call<T>(
  { method, keys, times, signal, admission }: LockRequest,
  proceed: LockedCall<T>['proceed'],
  transaction: LockRequest['transaction'] = null,
): LockedCall<T> {
  return {
    method,
    keys,
    times,
    signal,
    admission,
    transaction,
    args: [],
    onTimeout: 'throw',
    proceed,
  };
}

/** The options of a call that gives none. */
const NO_OPTIONS: LockOptions = Object.freeze({});

function label(method: string): string {
  return `DistributedLockService.${method}`;
}

function mustBeFunction(option: string, given: unknown): void {
  if (typeof given === 'function') return;
  throw new LockConfigurationError(`Option "${option}" is ${show(given)}; allowed: a function.`);
}

/** `(work)` or `(options, work)`. */
function optionsAndWork(
  rest: readonly unknown[],
  method: string,
): { options: unknown; work: (given: unknown) => Promise<unknown> } {
  const [options, work] = rest.length > 1 ? rest : [NO_OPTIONS, rest[0]];
  if (typeof work === 'function') {
    return { options: options ?? NO_OPTIONS, work: work as (given: unknown) => Promise<unknown> };
  }
  throw new LockConfigurationError(
    `${label(method)}: the work is ${show(work)}; allowed: an async function.`,
  );
}
