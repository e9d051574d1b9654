/** Something that happens at a moment of virtual time. */
export interface Appointment {
  readonly at: number;
  readonly run: () => void;
}

const realSetImmediate = setImmediate;
const realSetTimeout = globalThis.setTimeout;
const realClearTimeout = globalThis.clearTimeout;

/** Lets everything that is ready run: all promise reactions end before the next macrotask. */
export const settle = (): Promise<void> => new Promise((resolve) => realSetImmediate(resolve));

/** A clock that only moves from one appointment to the next. Replaces `setTimeout` while installed. */
export class VirtualTime {
  now = 0;
  readonly #appointments: Appointment[] = [];

  after(ms: number, run: () => void): Appointment {
    return this.at(this.now + Math.max(ms, 0), run);
  }

  /** Appointments of the same moment are kept in the order in which they were made. */
  at(moment: number, run: () => void): Appointment {
    const appointment = { at: moment, run };
    let index = this.#appointments.length;
    while (index > 0 && this.#appointments[index - 1]!.at > appointment.at) index -= 1;
    this.#appointments.splice(index, 0, appointment);
    return appointment;
  }

  cancel(appointment: Appointment | undefined): void {
    const index = appointment ? this.#appointments.indexOf(appointment) : -1;
    if (index >= 0) this.#appointments.splice(index, 1);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Keeps the next appointment, and lets everything that follows from it run. @returns `false` if there is none. */
  async step(): Promise<boolean> {
    const next = this.#appointments.shift();
    if (!next) return false;
    this.now = next.at;
    next.run();
    await settle();
    return true;
  }

  /** Keeps all appointments of the next `ms` milliseconds. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    while (this.#appointments[0] && this.#appointments[0].at <= end) await this.step();
    this.now = end;
    await settle();
  }

  /** @returns a function that brings the real timers back. */
  install(): () => void {
    clock.time = this;
    const virtualSetTimeout = (run: () => void, ms = 0): object => {
      const appointment = this.after(Math.max(ms, 1), run); // as Node does: never at the moment itself
      return Object.assign(appointment, { unref: () => appointment, ref: () => appointment });
    };
    globalThis.setTimeout = virtualSetTimeout as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((timer: Appointment | undefined) =>
      this.cancel(timer)) as unknown as typeof clearTimeout;
    return () => {
      globalThis.setTimeout = realSetTimeout;
      globalThis.clearTimeout = realClearTimeout;
    };
  }
}

/** Stands in for `distributed-lock.clock.ts`. */
export const clock = { time: new VirtualTime(), now: (): number => clock.time.now };

/** Small, seeded, good enough (mulberry32): a run is repeated by its seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b9) >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  upTo(limit: number): number {
    return this.next() * limit;
  }

  happens(probability: number): boolean {
    return this.next() < probability;
  }

  of<T>(...choices: readonly T[]): T {
    return choices[Math.floor(this.next() * choices.length)]!;
  }
}
