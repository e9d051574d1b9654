import { now } from './distributed-lock.clock.js';
import type { LossReason } from './distributed-lock.errors.js';
import type { LockEvents } from './distributed-lock.events.js';
import type { LeaderCallbacks } from './distributed-lock.leadership.js';
import { TermHold } from './distributed-lock.term-hold.js';
import type { ManagedHold } from './lock/managed-hold.js';

/** One term of a leader: from its election until its callbacks have ended. */
export class Term {
  readonly hold: TermHold;
  /** Resolves when it has stepped down, for whatever reason; `onDeposed` has been called then. */
  readonly steppedDown: Promise<void>;
  readonly #since = now();
  readonly #elected: Promise<boolean>;
  #deposed: Promise<boolean> | null = null;
  #tellSteppedDown!: () => void;

  /** @param inside runs `onElected`. */
  constructor(
    private readonly held: ManagedHold,
    private readonly callbacks: LeaderCallbacks,
    private readonly events: LockEvents,
    inside: (work: () => void | Promise<void>) => void | Promise<void>,
  ) {
    this.hold = new TermHold(held, () => this.stepDown('resigned'));
    this.steppedDown = new Promise((resolve) => (this.#tellSteppedDown = resolve));
    held.lost.addEventListener('abort', () => this.stepDown(held.lost.reason.reason));
    const { key, owner, fencingToken } = held;
    events.emit({ type: 'elected', key, owner, fencingToken });
    this.#elected = this.#run('onElected', () => inside(() => this.callbacks.onElected(this.hold)));
    void this.#elected.then((succeeded) => succeeded || this.stepDown('resigned'));
  }

  /** All of it at once, within the event that ends the term: a successor cannot be faster. */
  stepDown(reason: LossReason): void {
    if (this.#deposed) return;
    this.hold.end(reason);
    const { key, owner, fencingToken } = this.held;
    const ledMs = now() - this.#since;
    this.#deposed = this.#run('onDeposed', () => this.callbacks.onDeposed?.(reason));
    this.events.emit({ type: 'deposed', key, owner, fencingToken, ledMs, reason });
    this.#tellSteppedDown();
  }

  /** Resolves when both callbacks have ended, which they need not. @returns whether `onElected` did not fail. Never rejects. */
  async ended(): Promise<boolean> {
    await this.steppedDown;
    await this.#deposed;
    return this.#elected;
  }

  /** @returns whether it ended well. Never rejects: an error is reported. */
  async #run(
    during: 'onElected' | 'onDeposed',
    callback: () => void | Promise<void>,
  ): Promise<boolean> {
    try {
      await callback();
      return true;
    } catch (error) {
      this.events.emit({ type: 'leadership-failed', key: this.held.key, during, error });
      return false;
    }
  }
}
