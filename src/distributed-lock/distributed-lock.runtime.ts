import { type LockAdmission, resolveAdmission } from './distributed-lock.admission.js';
import { LockConfigurationError, LockStoreUnavailableError } from './distributed-lock.errors.js';
import { LockEvents } from './distributed-lock.events.js';
import { DistributedLockExecutor, type LockRequest } from './distributed-lock.executor.js';
import { Candidacy, type LeaderCallbacks } from './distributed-lock.leadership.js';
import type { CheckedModuleOptions } from './distributed-lock.module-options.js';
import type { LockMethodOptions, ResolvedTimes } from './distributed-lock.options.js';
import { LockManager } from './lock/lock-manager.js';
import type { Admission } from './store/lock-store.js';
import type { TransactionOptions } from './transaction/transaction-runner.js';

/** How long boot waits for the store. */
const OPEN_TIMEOUT_MS = 5_000;

/** Stores and transactions that a running module works with, and that module's name. */
const IN_USE = new WeakMap<object, string>();

/** One module at run time: the flow, what applies to calls that do not say otherwise, and the way from open to closed. */
export class LockRuntime {
  readonly events = new LockEvents();
  readonly #executor: DistributedLockExecutor;
  readonly #candidacies = new Set<Candidacy>();
  #prepare: (() => void) | null = null;
  #unusable: LockConfigurationError | null = null;

  constructor(
    readonly name: string,
    private readonly options: CheckedModuleOptions,
  ) {
    this.#executor = new DistributedLockExecutor(
      new LockManager(options.store, this.events),
      options.transactions,
    );
  }

  /** What applies to calls that do not say otherwise. */
  get times(): ResolvedTimes {
    return this.options.times;
  }

  /** The flow, for one call. @throws {LockConfigurationError} if boot has found, in the background, that the store cannot carry locks. */
  get executor(): DistributedLockExecutor {
    if (this.#unusable !== null) throw this.#unusable;
    this.prepare();
    return this.#executor;
  }

  /** What must have happened before the first call: at bootstrap, or at the first call if that comes earlier. */
  prepareWith(prepare: () => void): void {
    this.#prepare = prepare;
  }

  /** Idempotent once it has succeeded. */
  prepare(): void {
    this.#prepare?.();
    this.#prepare = null;
  }

  /** Hands the application's instances to the transactions, which look for what they work on. */
  adopt(instances: Iterable<unknown>): void {
    this.options.transactions?.adopt(instances);
  }

  /** Lets the transactions look at their databases, after {@link prepare}. @throws {LockConfigurationError | FenceTableMissingError} with advice. */
  async verify(): Promise<void> {
    await this.options.transactions?.verify?.();
  }

  /**
   * @param later told what went wrong where the application starts without the store (`connectOnBoot: false`).
   * @throws {LockStoreUnavailableError} after 5 s, unless it starts without; nothing is left open.
   */
  async open(later: (error: unknown) => void): Promise<void> {
    this.#claim();
    const { store, namespace, transactions } = this.options;
    const { name, fencing } = store.traits;
    transactions?.bind?.({ store: name, namespace, hasFencingTokens: fencing !== 'none' });
    const opened = this.options.store.open(this.options.namespace, OPEN_TIMEOUT_MS);
    if (!this.options.connectOnBoot) {
      opened.catch((error: unknown) => {
        if (error instanceof LockConfigurationError) this.#unusable = error;
        later(error);
      });
      return;
    }
    try {
      await opened;
    } catch (error) {
      await this.#abandonBoot();
      throw error;
    }
  }

  /** Stands for election with the key of the request, until it resigns or the application closes. */
  stand(request: LockRequest, callbacks: LeaderCallbacks): Candidacy {
    const candidacy = new Candidacy(this.executor, this.events, request, callbacks);
    this.#candidacies.add(candidacy);
    void candidacy.over.then(() => this.#candidacies.delete(candidacy));
    return candidacy;
  }

  /** Lets leaders resign, turns waiters away, lets running methods finish for the grace time, gives up the rest, closes the store. */
  async close(): Promise<void> {
    const resigned = [...this.#candidacies].map((candidacy) => candidacy.resign());
    try {
      await this.#executor.locks.close(this.options.shutdownGraceMs);
      await Promise.all(resigned);
    } finally {
      this.#unclaim();
    }
  }

  /** @throws {LockConfigurationError} if a method with these options could not run. */
  check(options: LockMethodOptions, where: string): void {
    this.transactionFor(options.transaction, where, this.admissionFor(options, where));
  }

  /**
   * @returns `undefined`: one holder at a time, in the store's own order.
   * @throws {LockConfigurationError} if the store does not offer what is asked for.
   */
  admissionFor(given: LockAdmission, where: string): Admission | undefined {
    const { fair, store } = this.options;
    return resolveAdmission(given, fair, store.traits, `${where}: `);
  }

  /**
   * @param given the `transaction` option of a method.
   * @returns `null`: the call runs without a transaction.
   * @throws {LockConfigurationError} if the module cannot run that transaction, or not under such a lock.
   */
  transactionFor(
    given: boolean | TransactionOptions | undefined,
    where: string,
    admission?: Admission,
  ): TransactionOptions | null {
    const { transactions } = this.options;
    if (given === false || (given === undefined && transactions === null)) return null;
    if (transactions === null) {
      throw new LockConfigurationError(
        `${where}: option "transaction" asks for a transaction, but the module "${this.name}" has no "transactions". ` +
          'Allowed: false; or DistributedLockModule.forRoot({ transactions: typeormTransactions(), … }).',
      );
    }
    const options = underAdmission(typeof given === 'object' ? given : {}, where, admission);
    try {
      transactions.check(options);
    } catch (cause) {
      if (!(cause instanceof LockConfigurationError)) throw cause;
      throw new LockConfigurationError(`${where}: ${cause.message}`, { cause });
    }
    return options;
  }

  /** A store keeps the state of one module; a second one would close it under the first. */
  #claim(): void {
    const { store, transactions } = this.options;
    for (const [option, value] of Object.entries({ store, transactions })) {
      if (value === null) continue;
      const owner = IN_USE.get(value);
      if (owner !== undefined) {
        throw new LockConfigurationError(
          `Option "${option}" of the module "${this.name}" is in use by the module "${owner}"; allowed: an object of its own for each ` +
            'module and application. Where one module class is started several times, make it in forRootAsync({ useFactory }).',
        );
      }
    }
    IN_USE.set(store, this.name);
    if (transactions !== null) IN_USE.set(transactions, this.name);
  }

  #unclaim(): void {
    IN_USE.delete(this.options.store);
    if (this.options.transactions !== null) IN_USE.delete(this.options.transactions);
  }

  async #abandonBoot(): Promise<void> {
    try {
      await this.options.store.close();
    } catch (error) {
      // Boot fails already, with the reason that matters; a store that cannot be closed now is unavailable.
      if (!(error instanceof LockStoreUnavailableError)) throw error;
    } finally {
      this.#unclaim();
    }
  }
}

/** Holders that are not alone have no fencing token: their transactions pass no fence. */
function underAdmission(
  options: TransactionOptions,
  where: string,
  admission: Admission | undefined,
): TransactionOptions {
  if (!admission || admission.mode === 'exclusive') return options;
  if (options.fenced !== true) return { ...options, fenced: false };
  throw new LockConfigurationError(
    `Option "${where}: transaction.fenced" is true, but a ${admission.mode} holder has no fencing token; allowed: false. ` +
      'It may read under its lock; whoever writes takes the lock exclusively.',
  );
}
