import { show } from '../../../distributed-lock.duration.js';
import {
  DistributedLockError,
  LockConfigurationError,
  TransactionStartError,
} from '../../../distributed-lock.errors.js';
import type { LockDescription, TransactionOptions } from '../../transaction-runner.js';
import type { AdoptedDataSource } from '../adopted-data-source.js';
import type { BoundedHold } from '../max-hold.js';
import { FencePass } from './fence-pass.js';
import type { FenceOptions, FenceTable } from './fence-table.js';

/** Decides which transactions of a runner are fenced, and lets them through. */
export class Fencing {
  readonly #tables = new WeakMap<AdoptedDataSource, { readonly fences: FenceTable | null }>();
  /** What locked methods ask for, each combination once. */
  readonly #expected = new Map<string, TransactionOptions>();
  #locks: LockDescription | null = null;

  constructor(
    /** `null`: never fenced. */
    private readonly options: FenceOptions | null,
  ) {}

  bind(locks: LockDescription): void {
    this.#locks = locks;
  }

  /** A method will run with these options. @throws {LockConfigurationError} if it asks for a fence that cannot be had. */
  expect(options: TransactionOptions): void {
    if (options.fenced === true && this.#locks !== null) {
      if (this.options === null)
        throw this.#cannot('the option "transactions.fence" is false; allowed: leave that one out');
      if (!this.#locks.hasFencingTokens)
        throw this.#cannot(
          `the store ${show(this.#locks.store)} has no fencing tokens; allowed: false, or a store that has`,
        );
    }
    const { dataSource = '', fenced } = options;
    this.#expected.set(`${String(fenced)} ${dataSource}`, options);
  }

  /**
   * Looks for the table in every DataSource that the default or a locked method uses; one that is not initialized yet is looked at
   * before its first transaction.
   *
   * @throws {FenceTableMissingError | LockConfigurationError} with advice.
   */
  async verify(
    sourceOf: (options: TransactionOptions) => AdoptedDataSource,
    hasDefault: boolean,
  ): Promise<void> {
    const expected = this.#expected.values();
    const uses: Iterable<TransactionOptions> = hasDefault ? [{}, ...expected] : expected;
    for (const options of uses) {
      const source = sourceOf(options);
      const fences = this.#fencesFor(source, options);
      if (source.dataSource.isInitialized) await fences?.ready();
    }
  }

  /** Whether transactions with these options pass a fence. */
  isFenced(source: AdoptedDataSource, options: TransactionOptions): boolean {
    return this.#fencesFor(source, options) !== null;
  }

  /** @returns `null`: not fenced. */
  async pass(
    source: AdoptedDataSource,
    options: TransactionOptions,
    hold: BoundedHold,
  ): Promise<FencePass | null> {
    const fences = this.#fencesFor(source, options);
    if (fences === null || this.#locks === null) return null;
    const tokens = new Map<string, bigint>();
    for (const [key, token] of hold.fencingTokens) {
      if (token !== null) tokens.set(key, token);
    }
    if (tokens.size === 0 || tokens.size < hold.fencingTokens.size) {
      if (options.fenced !== true) return null;
      throw this.#cannot(`lock ${show(hold.key)} has no fencing token; allowed: false`);
    }
    await this.#ready(fences, hold.key);
    return new FencePass(fences, this.#locks, hold, tokens, () => hold.budgetMs());
  }

  /** @throws {FenceTableMissingError | LockConfigurationError | TransactionStartError} the last where the database could not be asked. */
  async #ready(fences: FenceTable, key: string): Promise<void> {
    try {
      await fences.ready();
    } catch (error) {
      throw error instanceof DistributedLockError
        ? error
        : new TransactionStartError(key, { cause: error });
    }
  }

  #fencesFor(source: AdoptedDataSource, { fenced }: TransactionOptions): FenceTable | null {
    if (fenced === false || this.options === null || !this.#locks?.hasFencingTokens) return null;
    let known = this.#tables.get(source);
    if (known === undefined) {
      known = { fences: source.fenceTable(this.options) };
      this.#tables.set(source, known);
    }
    if (known.fences === null && fenced === true) {
      throw this.#cannot(
        `there is no fence for DataSource ${show(source.name)} of type ${show(source.dataSource.options.type)}; ` +
          'allowed: false, or an own one: typeormTransactions({ fence: { dialect } })',
      );
    }
    return known.fences;
  }

  #cannot(why: string): LockConfigurationError {
    return new LockConfigurationError(`Option "transaction.fenced" is true, but ${why}.`);
  }
}
