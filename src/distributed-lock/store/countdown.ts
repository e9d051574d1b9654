import { now } from '../distributed-lock.clock.js';
import { TransientMap } from '../distributed-lock.transient-map.js';

/**
 * Deadlines of one length: whoever is added later expires later, so one timer serves all of them. (A timer each costs more than
 * the rest of an uncontended lock; Node keeps its own timers in the same way.)
 */
export class Countdown<Entry> {
  readonly #deadlines = new TransientMap<Entry, number>();
  #timer: NodeJS.Timeout | null = null;
  /** No more entries are expected: the timer goes with the last one. */
  #ends = false;

  constructor(
    private readonly ms: number,
    private readonly expired: (entry: Entry) => void,
  ) {}

  get isEmpty(): boolean {
    return this.#deadlines.size === 0;
  }

  add(entry: Entry): void {
    this.#ends = false;
    this.#deadlines.set(entry, now() + this.ms);
    if (this.#timer === null) this.#arm(this.ms);
  }

  /**
   * The timer stays: it finds nothing to do, and the next entry need not arm another.
   *
   * @returns `false` if the entry was deleted or has expired already.
   */
  delete(entry: Entry): boolean {
    const wasIn = this.#deadlines.delete(entry);
    if (this.#ends) this.end();
    return wasIn;
  }

  /** Leaves no timer behind: none now if nothing is added, else none once that was deleted or has expired. Whoever adds again begins anew. */
  end(): void {
    this.#ends = true;
    if (this.#timer === null || this.#deadlines.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(() => this.#ring(), ms);
    this.#timer.unref();
  }

  #ring(): void {
    this.#timer = null;
    const at = now();
    for (const [entry, deadline] of this.#deadlines) {
      if (deadline > at) return this.#arm(deadline - at);
      // One that expired before may have ended this one, too; the map that is walked over need not know.
      if (this.#deadlines.delete(entry)) this.expired(entry);
    }
  }
}

/** So many lengths are kept at hand with their timers; beyond, one goes with its last entry. */
const LENGTHS_AT_HAND = 16;

/** Deadlines of any length, with a timer per length. */
export class Countdowns<Entry> {
  readonly #byLength = new Map<number, Countdown<Entry>>();

  constructor(private readonly expired: (entry: Entry) => void) {}

  add(entry: Entry, ms: number): void {
    let countdown = this.#byLength.get(ms);
    if (!countdown) this.#byLength.set(ms, (countdown = new Countdown(ms, this.expired)));
    countdown.add(entry);
  }

  delete(entry: Entry, ms: number): void {
    const countdown = this.#byLength.get(ms);
    if (!countdown) return;
    countdown.delete(entry);
    if (this.#byLength.size <= LENGTHS_AT_HAND || !countdown.isEmpty) return;
    countdown.end();
    this.#byLength.delete(ms);
  }

  /** See {@link Countdown.end}. */
  end(): void {
    for (const countdown of this.#byLength.values()) countdown.end();
  }
}
