import { now } from '../distributed-lock.clock.js';
import { TransientMap } from '../distributed-lock.transient-map.js';
import type { LockStore } from '../store/lock-store.js';
import type { LockHold } from './lock-hold.js';

interface Watched {
  readonly hold: LockHold;
  /** When to renew next; `Infinity` for a hold that is not renewed or whose renewal is under way. */
  renewAt: number;
  failures: number;
}

const FIRST_RETRY_MS = 50;
/** A timer is never armed for longer than this, so that a hold added to an armed timer cannot be missed by an overflow. */
const LONGEST_TICK_MS = 60_000;

/**
 * Renews all held locks of one store, in as few commands as there are due at a time, and declares them lost at their deadline.
 *
 * A hold is renewed when a third of its lease has passed (as Redisson's watchdog does); holds due within a tenth of their lease ride
 * along. A failed renewal is retried after 50 ms, 100, 200, … It is the deadline that ends a hold, never the retries.
 */
export class LeaseRenewal {
  readonly #watched = new TransientMap<LockHold, Watched>();
  #timer: NodeJS.Timeout | null = null;
  #timerAt = Infinity;

  constructor(private readonly store: LockStore) {}

  add(hold: LockHold): void {
    const renewAt = hold.renews ? hold.heldSince + hold.leaseTimeMs / 3 : Infinity;
    this.#watched.set(hold, { hold, renewAt, failures: 0 });
    this.#arm(Math.min(renewAt, hold.deadline));
  }

  remove(hold: LockHold): void {
    // The timer stays: it finds nothing to do, and the next hold need not arm another.
    this.#watched.delete(hold);
  }

  /** Those that are held. */
  holds(): Iterable<LockHold> {
    return this.#watched.keys();
  }

  /** Nothing is held any more, and nothing will be: leaves no timer behind. */
  end(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = Infinity;
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => this.#tick(),
      Math.min(Math.max(at - now(), 0), LONGEST_TICK_MS),
    );
    this.#timer.unref();
  }

  #tick(): void {
    this.#timer = null;
    this.#timerAt = Infinity;
    const at = now();
    const due: Watched[] = [];
    for (const watched of this.#watched.values()) {
      const { hold } = watched;
      if (!hold.isHeldAt(at)) continue; // lost by reading the clock; it has removed itself
      if (watched.renewAt - hold.leaseTimeMs / 10 <= at) {
        watched.renewAt = Infinity;
        due.push(watched);
      }
      this.#arm(Math.min(watched.renewAt, hold.deadline));
    }
    if (due.length > 0) void this.#renew(due);
  }

  async #renew(due: readonly Watched[]): Promise<void> {
    const sentAt = now();
    try {
      const honoured = await this.store.renew(
        due.map(({ hold }) => ({ grant: hold.grant, leaseTimeMs: hold.renewalMs() })),
      );
      const answeredAt = now();
      for (const [index, watched] of due.entries()) {
        const { hold } = watched;
        if (!hold.isHeldAt(answeredAt)) continue; // released while the answer was on its way
        if (honoured[index]) this.#again(watched, sentAt + hold.leaseTimeMs / 3, 0);
        else hold.lose('taken-over');
      }
    } catch {
      // Nothing is known: the holds go on until their deadlines.
      const failedAt = now();
      for (const watched of due) {
        const { hold } = watched;
        if (!hold.isHeldAt(failedAt)) continue;
        const failures = watched.failures + 1;
        const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), hold.leaseTimeMs / 3);
        this.#again(watched, failedAt + pauseMs, failures);
      }
    }
  }

  #again(watched: Watched, renewAt: number, failures: number): void {
    watched.renewAt = renewAt;
    watched.failures = failures;
    this.#arm(Math.min(renewAt, watched.hold.deadline));
  }
}
