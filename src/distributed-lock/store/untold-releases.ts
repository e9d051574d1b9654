import { now } from '../distributed-lock.clock.js';
import type { TurnRef } from './turn-backend.js';

interface Untold<Turn> {
  readonly turn: Turn;
  readonly more: () => boolean;
  /** Until when the key is to stay closed. */
  readonly keepUntil: number;
  attempts: number;
  timer: NodeJS.Timeout | null;
  told: () => void;
}

const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 5_000;
/** After these the lease has long done the work; the first 12 retries alone take half a minute. */
const MOST_ATTEMPTS = 24;

/** Give-backs that nobody waits for: told to the backend in the background until it has heard them. */
export class UntoldReleases<Turn = TurnRef> {
  readonly #untold = new Set<Untold<Turn>>();
  readonly #underWay = new Set<Promise<void>>();
  #closing = false;

  constructor(
    private readonly backend: {
      giveBack(turn: Turn, more: boolean): Promise<unknown>;
      keep?(turn: Turn, keepForMs: number): Promise<unknown>;
    },
  ) {}

  /**
   * Resolves when the backend has heard it, or when it is given up. Never rejects.
   *
   * @param keepUntil keeps the key closed until then, on the scale of `distributed-lock.clock.ts`.
   */
  tell(turn: Turn, more: () => boolean, keepUntil = 0): Promise<void> {
    const { promise, resolve } = deferred();
    void this.#try({ turn, more, keepUntil, attempts: 0, timer: null, told: resolve });
    this.#underWay.add(promise);
    return promise.finally(() => this.#underWay.delete(promise));
  }

  /** The backend is back: no need to wait for the timers. */
  retryNow(): void {
    for (const untold of this.#untold) void this.#try(untold);
  }

  /** After {@link settle}: give-backs are repeated again. */
  resume(): void {
    this.#closing = false;
  }

  /** Waits for what is under way and gives the rest up: their leases end them. */
  async settle(): Promise<void> {
    this.#closing = true;
    for (const untold of this.#untold) this.#giveUp(untold);
    await Promise.all(this.#underWay);
  }

  async #try(untold: Untold<Turn>): Promise<void> {
    this.#untold.delete(untold);
    if (untold.timer) clearTimeout(untold.timer);
    untold.attempts += 1;
    try {
      const keepForMs = untold.keepUntil - now();
      if (keepForMs > 0 && this.backend.keep) await this.backend.keep(untold.turn, keepForMs);
      else await this.backend.giveBack(untold.turn, untold.more());
      untold.told();
    } catch {
      // Not lost: the error says only that the backend cannot be told now.
      if (this.#closing || untold.attempts >= MOST_ATTEMPTS) return this.#giveUp(untold);
      const pause = Math.min(FIRST_RETRY_MS * 2 ** (untold.attempts - 1), LONGEST_RETRY_MS);
      this.#untold.add(untold);
      untold.timer = setTimeout(() => void this.#try(untold), pause);
      untold.timer.unref();
    }
  }

  #giveUp(untold: Untold<Turn>): void {
    this.#untold.delete(untold);
    if (untold.timer) clearTimeout(untold.timer);
    untold.told();
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
