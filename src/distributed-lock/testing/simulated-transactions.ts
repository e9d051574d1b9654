import type {
  OnOpenTransaction,
  OpenTransaction,
  TransactionHold,
  TransactionOptions,
  TransactionRunner,
} from '../transaction/transaction-runner.js';

/** How a transaction under a lock ended. */
export type RecordedTransaction = 'committed' | 'rolled-back';

/** Runs the work of a transaction without a database, in the order of the real one: nothing is committed under a lock that was lost. */
export class SimulatedTransactions implements TransactionRunner {
  #transactions: RecordedTransaction[] = [];

  constructor(private readonly manager: unknown) {}

  get transactions(): readonly RecordedTransaction[] {
    return this.#transactions;
  }

  reset(): void {
    this.#transactions = [];
  }

  /** The options of any runner are accepted: they are checked where the real one is used. */
  check(): void {}

  adopt(): void {}

  openTransaction(): OpenTransaction | undefined {
    return undefined;
  }

  onOpenTransaction(): OnOpenTransaction {
    return 'reject';
  }

  outside<T>(work: () => T): T {
    return work();
  }

  async run<T>(
    _options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: unknown) => Promise<T>,
  ): Promise<T> {
    try {
      const result = await work(this.manager);
      hold.assertHeld();
      this.#transactions.push('committed');
      return result;
    } catch (error) {
      this.#transactions.push('rolled-back');
      throw error;
    }
  }
}
