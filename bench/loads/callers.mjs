import { now } from '../harness/clock.mjs';
import { Samples } from '../harness/samples.mjs';

const DONE = Promise.resolve();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the callers of one turn lived through in this process. Times are milliseconds of the shared clock. */
export class Journal {
  /** Sections: entered and left, in turn. */
  spans = new Samples();
  /** From asking to entering. */
  waits = new Samples();
  /** From asking to the release. */
  cycles = new Samples();
  failures = {};
  violations = 0;

  /** Waits, cycles and shares count from `from` to `until`; sections and violations always. */
  constructor(from, until) {
    this.from = from;
    this.until = until;
  }

  failed(error) {
    const reason = String(error?.message ?? error)
      .replace(/[\w:.-]*bench:[\w:.-]*/g, 'KEY')
      .slice(0, 160);
    this.failures[reason] = (this.failures[reason] ?? 0) + 1;
  }

  toMessage() {
    const { from, until, failures, violations } = this;
    return {
      from,
      until,
      spans: this.spans.toArray(),
      waits: this.waits.toArray(),
      cycles: this.cycles.toArray(),
      failures,
      violations,
    };
  }
}

/** Somebody who asks for keys, one after the other. */
export class Caller {
  served = 0;
  #enteredAt = 0;
  #leftAt = 0;
  #place = null;

  constructor(contender, journal, workMs) {
    this.contender = contender;
    this.journal = journal;
    this.workMs = workMs;
  }

  /**
   * One cycle: acquire, work, release. Never rejects; a failure is written down.
   *
   * @param place `{ key, inside }`, shared by all callers of the key in this process.
   */
  async cycle(place) {
    const askedAt = now();
    this.#place = place;
    this.#enteredAt = 0;
    try {
      await this.contender.locked(place.key, this.#section);
    } catch (error) {
      this.journal.failed(error);
      if (this.#enteredAt === 0) return;
    }
    const { spans, waits, cycles } = this.journal;
    spans.push(this.#enteredAt);
    spans.push(this.#leftAt);
    if (askedAt < this.journal.from) return;
    waits.push(this.#enteredAt - askedAt);
    cycles.push(now() - askedAt);
  }

  #section = () => {
    this.#enteredAt = now();
    const { from, until } = this.journal;
    if (this.#enteredAt >= from && this.#enteredAt < until) this.served += 1;
    if (this.#place.inside) this.journal.violations += 1;
    this.#place.inside = true;
    if (this.workMs > 0) return sleep(this.workMs).then(this.#leave);
    this.#leave();
    return DONE;
  };

  #leave = () => {
    this.#place.inside = false;
    this.#leftAt = now();
  };
}
