import { now } from './distributed-lock.clock.js';
import type { ResolvedTimes } from './distributed-lock.options.js';
import { HoldOfTransaction } from './distributed-lock.transaction-hold.js';
import type { LockKey } from './key/lock-key.js';
import type { LockManager } from './lock/lock-manager.js';
import type { ManagedHold } from './lock/managed-hold.js';
import type { Admission } from './store/lock-store.js';
import type { OuterTransaction } from './transaction/transaction-runner.js';

interface Request {
  /** For error texts. */
  readonly method: string;
  readonly keys: readonly LockKey[];
  readonly times: ResolvedTimes;
  readonly signal?: AbortSignal | undefined;
  readonly admission?: Admission | undefined;
}

/** The inside of all holds that stay in one open transaction. */
export interface OuterScope {
  inside<T>(work: () => T): T;
}

/** The holds of one transaction that others opened; it releases them at its end. */
class Kept implements OuterScope {
  readonly holds = new Set<ManagedHold>();
  /** Calls at the same time come one after the other: the second may want a key that the first is acquiring. */
  entering: Promise<void> = Promise.resolve();

  constructor(private readonly locks: LockManager) {}

  /** Holds that the chain is inside of already are not entered again: a nested call joins its caller's share, not the whole. */
  inside<T>(work: () => T): T {
    let inner = work;
    for (const hold of this.holds) {
      if (this.locks.joins(hold.keys)) continue;
      const run = inner;
      inner = () => this.locks.inside(hold, run);
    }
    return inner();
  }
}

/** Locks with `onOpenTransaction: 'hold'`: acquired inside an open transaction, released when that one has ended. */
export class OuterHolds {
  readonly #kept = new WeakMap<object, Kept>();

  constructor(private readonly locks: LockManager) {}

  /**
   * Holds the keys in the transaction; those that the calling chain, or the transaction, holds already are left as they are.
   *
   * @throws {LockWaitTimeoutError} if one of them stayed busy
   * @throws what {@link OuterTransaction.keep} says; then the new ones are released again
   */
  async enter(outer: OuterTransaction, request: Request): Promise<OuterScope> {
    const kept = this.#of(outer);
    const deadline = now() + request.times.waitTimeMs;
    const before = kept.entering;
    const entered = before.then(() =>
      kept.inside(() => this.#acquireMissing(kept, outer, request, deadline)),
    );
    kept.entering = entered.catch(() => undefined);
    await entered;
    return kept;
  }

  async #acquireMissing(
    kept: Kept,
    outer: OuterTransaction,
    { method, keys, times, signal, admission }: Request,
    deadline: number,
  ): Promise<void> {
    const missing = keys.filter((key) => !this.locks.joins([key]));
    if (missing.length === 0) return;
    const waitTimeMs = Math.max(Math.ceil(deadline - now()), 0);
    const hold = await this.locks.enter(missing, { ...times, waitTimeMs }, signal, admission);
    try {
      await outer.keep(new HoldOfTransaction(hold, method), async (end) => {
        kept.holds.delete(hold);
        // A commit may still be on its way: the next holder must not overtake it.
        if (end === 'unknown') hold.abandon();
        await hold.end();
      });
      kept.holds.add(hold);
    } catch (error) {
      await hold.end();
      throw error;
    }
  }

  #of({ identity }: OuterTransaction): Kept {
    let kept = this.#kept.get(identity);
    if (kept === undefined) this.#kept.set(identity, (kept = new Kept(this.locks)));
    return kept;
  }
}
