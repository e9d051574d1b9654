import { setTimeout as pause } from 'node:timers/promises';
import { MAX_DURATION_MS } from './distributed-lock.duration.js';
import {
  LockClosedError,
  LockWaitTimeoutError,
  type LossReason,
} from './distributed-lock.errors.js';
import type { LockEvents } from './distributed-lock.events.js';
import type { DistributedLockExecutor, LockRequest } from './distributed-lock.executor.js';
import { Term } from './distributed-lock.term.js';
import type { LockKey } from './key/lock-key.js';
import type { Hold } from './lock/hold.js';
import type { ManagedHold } from './lock/managed-hold.js';

/** What a candidate does when it becomes leader, and when it is leader no more. */
export interface LeaderCallbacks {
  /**
   * This process leads. It may return at once, or go on until `hold.lost` fires, which it does when the term ends in whatever way. `hold.release()` steps down,
   * and stands for election again. A rejection is reported (`leadership-failed`), and steps down too.
   */
  onElected(hold: Hold): void | Promise<void>;
  /**
   * The term is over: `isLeader` is `false`, `hold.lost` has fired. When it steps down by itself, nobody else is elected before this and `onElected` have ended, or a
   * lease time has passed; when it was deposed by a loss, nobody else is elected before this was called, as long as this process is not frozen.
   *
   * @param reason `resigned`: it stepped down by itself.
   */
  onDeposed?(reason: LossReason): void | Promise<void>;
}

/** A candidacy: stands for election until it resigns. */
export interface Leadership extends AsyncDisposable {
  readonly key: LockKey;
  /** Reads the clock; does not ask the store. `false` from the moment the term ends. */
  readonly isLeader: boolean;
  /**
   * Steps down if it leads, and stands no more. Idempotent. Resolves when the key is given back: that is when the callbacks have ended, at the latest after a lease time.
   * Do not wait for it inside a callback.
   */
  resign(): Promise<void>;
  /** {@link resign}s. */
  [Symbol.asyncDispose](): Promise<void>;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Waits for the key for ever, leads while it holds it, and stands again. Nothing it meets ends it but {@link resign} and the end of the application. */
export class Candidacy implements Leadership {
  readonly #resigned = new AbortController();
  /** Resolves when it stands no more. Never rejects. */
  readonly over: Promise<void>;
  #term: Term | null = null;

  /** @param request one key; its wait time is as long as it gets. */
  constructor(
    private readonly executor: DistributedLockExecutor,
    private readonly events: LockEvents,
    private readonly request: LockRequest,
    private readonly callbacks: LeaderCallbacks,
  ) {
    // It is no part of the call that started it.
    this.over = executor.detached(() => this.#stand());
  }

  get key(): LockKey {
    return this.request.keys[0]!;
  }

  get isLeader(): boolean {
    return this.#term?.hold.isHeld() ?? false;
  }

  async resign(): Promise<void> {
    this.#resigned.abort();
    await this.over;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resign();
  }

  async #stand(): Promise<void> {
    const { signal } = this.#resigned;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const hold = await this.executor.acquire({ ...this.request, signal });
        failures = (await this.#lead(hold)) ? 0 : failures + 1;
      } catch (error) {
        if (signal.aborted || error instanceof LockClosedError) return;
        if (error instanceof LockWaitTimeoutError) continue;
        failures += 1;
        this.events.emit({ type: 'leadership-failed', key: this.key, during: 'campaign', error });
      }
      if (failures > 0) await this.#backOff(failures);
    }
  }

  /** @returns whether `onElected` did not fail. Never rejects. */
  async #lead(hold: ManagedHold): Promise<boolean> {
    const { signal } = this.#resigned;
    if (signal.aborted || !hold.isHeld()) {
      await hold.end();
      return true;
    }
    const term = new Term(hold, this.callbacks, this.events, (work) =>
      this.executor.locks.inside(hold, work),
    );
    this.#term = term;
    const resign = (): void => term.stepDown('resigned');
    signal.addEventListener('abort', resign, { once: true });
    await term.steppedDown;
    signal.removeEventListener('abort', resign);
    const ended = term.ended();
    await endOf(ended, hold.lost, this.request.times.leaseTimeMs);
    await hold.end();
    // Who has not ended its former term does not begin another.
    await endOf(ended, signal);
    return signal.aborted || ended;
  }

  async #backOff(failures: number): Promise<void> {
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
    const options = { ref: false, signal: this.#resigned.signal };
    await pause(longest * (0.5 + Math.random() / 2), undefined, options).catch(() => undefined); // resigned
  }
}

/** Resolves when the work has ended, the signal fires, or the time is over. */
function endOf(work: Promise<unknown>, signal: AbortSignal, ms = MAX_DURATION_MS): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms).unref();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    void work.then(end);
  });
}
