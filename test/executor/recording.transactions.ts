import type {
  OnOpenTransaction,
  OpenTransaction,
  TransactionHold,
  TransactionOptions,
  TransactionRunner,
} from '../../src/distributed-lock/transaction/transaction-runner.js';

/** Keeps the order that the port asks for (START → work → check → COMMIT, else ROLLBACK) and writes it down. */
export class RecordingTransactions implements TransactionRunner<string> {
  open: OpenTransaction | undefined;
  whenOpen: OnOpenTransaction = 'reject';
  readonly ran: TransactionOptions[] = [];
  /** What the database does with COMMIT. */
  commit = async (): Promise<void> => undefined;

  constructor(private readonly log: string[]) {}

  check(): void {}

  adopt(): void {}

  openTransaction(): OpenTransaction | undefined {
    return this.open;
  }

  onOpenTransaction(options: TransactionOptions): OnOpenTransaction {
    return options.onOpenTransaction ?? this.whenOpen;
  }

  outside<T>(work: () => T): T {
    return work();
  }

  async run<T>(
    options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: string) => Promise<T>,
  ): Promise<T> {
    this.ran.push(options);
    this.log.push('START');
    try {
      const result = await work('manager');
      hold.assertHeld();
      this.log.push('COMMIT');
      await this.commit();
      this.log.push('committed');
      return result;
    } catch (error) {
      if (!this.log.includes('COMMIT')) this.log.push('ROLLBACK');
      throw error;
    }
  }
}
