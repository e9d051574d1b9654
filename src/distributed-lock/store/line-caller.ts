import { now } from '../distributed-lock.clock.js';
import type { LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { LinePlace, NotYet } from './line-backend.js';
import type { AcquireRequest, Admission, LockGrant } from './lock-store.js';

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/** A request that says who may be inside together, and in which order. */
export type LineRequest = AcquireRequest & { readonly admission: Admission };

/** One call of `acquire` that stands in a line: its place, how it stands with the backend, and its pauses between two looks. */
export class LineCaller {
  /** Called while a command was on its way: calls and answers travel on two connections and overtake each other. */
  called = false;
  /** A command with the owner id was sent: the backend may know it. */
  asked = false;
  /** The call has its answer. */
  isOver = false;
  since: string | null = null;
  attempt = 0;
  lastError: LockStoreUnavailableError | null = null;
  #heard = false;
  #failures = 0;
  #pause: { readonly end: () => void; readonly lookAt: number } | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    public place: LinePlace,
    readonly request: LineRequest,
    private readonly tell: { resolve(grant: LockGrant | null): void; reject(error: unknown): void },
  ) {}

  get waits(): boolean {
    return this.request.waitTimeMs > 0;
  }

  /** Why nobody can say whether the key is busy; `null` where it is. */
  get trouble(): string | LockStoreUnavailableError | null {
    return this.lastError ?? (this.#heard ? null : 'it has not answered yet');
  }

  /** Stands in the line at the backend and waits: it is called when its time comes. */
  get isQueued(): boolean {
    return this.#pause !== null && this.lastError === null;
  }

  resolve(grant: LockGrant | null): void {
    this.#settle(() => this.tell.resolve(grant));
  }

  reject(error: unknown): void {
    this.#settle(() => this.tell.reject(error));
  }

  answered(): void {
    this.#heard = true;
    this.#failures = 0;
    this.lastError = null;
  }

  notYet(answer: NotYet): void {
    this.since = answer.since;
    this.attempt += 1;
  }

  /** @returns how long to wait before the next attempt, in milliseconds. */
  failed(error: LockStoreUnavailableError): number {
    this.lastError = error;
    this.#failures += 1;
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** (this.#failures - 1), LONGEST_BACKOFF_MS);
    return backoff * (0.75 + Math.random() / 2);
  }

  /** Goes on under a new owner id: the old one is dead. */
  startAnew(place: LinePlace): void {
    this.place = place;
    this.since = null;
    this.attempt = 0;
    this.called = false;
  }

  /** Resolves when it is called or gives up, and after `ms` if {@link watch} was called. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#pause = { lookAt: now() + ms, end: resolve };
    });
  }

  /** Ends the pause when its time is over, or after `ms` if that is sooner. */
  watch(ms = Infinity): void {
    if (!this.#pause || (this.#timer && ms === Infinity)) return;
    if (this.#timer) clearTimeout(this.#timer);
    const left = Math.min(Math.max(this.#pause.lookAt - now(), 0), ms);
    this.#timer = setTimeout(() => this.look(), left);
    this.#timer.unref();
  }

  /** Ends the pause now; in a command, notes it. */
  look(): void {
    this.called = true;
    this.#endPause();
  }

  #settle(answer: () => void): void {
    if (this.isOver) return;
    this.isOver = true;
    answer();
    this.#endPause();
  }

  #endPause(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const pause = this.#pause;
    this.#pause = null;
    pause?.end();
  }
}
