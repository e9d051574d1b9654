import { TransactionRolledBackError } from '../../distributed-lock.errors.js';
import type { OuterEnd, TransactionHold } from '../transaction-runner.js';
import { isInnoDbDeadlock } from './commit-outcome.js';
import { isLoss, lossWith } from './transaction-guard.js';

/** One of them. */
export interface KeptHold {
  readonly hold: Pick<TransactionHold, 'key' | 'assertHeld'>;
  /** How many savepoints deep it was let in. */
  readonly depth: number;
  readonly ended: (end: OuterEnd) => Promise<void>;
}

const COMMIT = /^\s*commit\b/i;
const ROLLBACK = /^\s*rollback\b/i;

/** Locks that are held until one transaction has ended: it does not commit without them. */
export class KeptHolds {
  #kept: KeptHold[] = [];
  /** InnoDB has rolled the transaction back already: its statements would run, and commit, one by one. */
  #doom: { readonly key: string; readonly cause: unknown } | null = null;

  add(kept: KeptHold): void {
    this.#kept.push(kept);
  }

  /** @throws what keeps the statement from being sent. */
  beforeStatement(query: string): void {
    if (this.#doom !== null && !ROLLBACK.test(query)) {
      const { key, cause } = this.#doom;
      throw new TransactionRolledBackError(key, { reason: 'deadlock', cause });
    }
    if (!COMMIT.test(query)) return;
    for (const { hold } of this.#kept) assertHeld(hold);
  }

  afterFailure(error: unknown): void {
    const [first] = this.#kept;
    if (first !== undefined && isInnoDbDeadlock(error))
      this.#doom = { key: first.hold.key, cause: error };
  }

  /** What was done under locks that were taken inside the savepoint is undone, and the fence's rows are free again. */
  async savepointRolledBack(depth: number): Promise<void> {
    await this.#end('ended', (kept) => kept.depth > depth);
  }

  /** Later calls do nothing. */
  async transactionEnded(end: OuterEnd): Promise<void> {
    await this.#end(end, () => true);
  }

  /** The last one first, as it is done everywhere. */
  async #end(end: OuterEnd, fits: (kept: KeptHold) => boolean): Promise<void> {
    const ending = this.#kept.filter(fits).toReversed();
    this.#kept = this.#kept.filter((kept) => !fits(kept));
    for (const { ended } of ending) await ended(end);
  }
}

function assertHeld(hold: KeptHold['hold']): void {
  try {
    hold.assertHeld();
  } catch (error) {
    throw isLoss(error) ? lossWith(error, { methodRan: true, committed: false }) : error;
  }
}
