import type { LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { AcquireRequest } from './lock-store.js';
import type { QueueHost } from './queue-host.js';
import type { Busy, Offer, TakeRequest, TokenBlock } from './turn-backend.js';

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/**
 * How this process stands with the backend about one key: the owner id it asks under, its place in the backend's queue, and whether
 * the backend answers.
 *
 * An owner id is dead once a give-back was sent for it: a command that is repeated without one keeps the id (the answer is the
 * same turn), after one a new id is used. Otherwise a late give-back could free the key of a live holder.
 */
export class Standing {
  /** A wake-up came while a command was on its way: messages and answers travel on two connections and overtake each other. */
  #woken = false;
  #offer: Offer | null = null;
  #owner: string | null = null;
  /** Place in the backend's queue, kept when another process was faster. */
  #since: string | null = null;
  #attempt = 0;
  /** A command with the current owner id may have left a trace in the backend: a place in its queue, or the key itself. */
  #traces = false;
  #heard = false;
  #failures = 0;
  #lastError: LockStoreUnavailableError | null = null;
  /** The last command that queued the process: when it was sent, and the last turn that had begun when it was answered. */
  #queued: { readonly sentAt: number; readonly latest: TokenBlock } | null = null;

  constructor(private readonly host: Pick<QueueHost, 'newOwner' | 'isDead' | 'begun'>) {}

  /** A wake-up came that has not been followed yet. */
  get woken(): boolean {
    return this.#woken;
  }

  /** What it offered. */
  get offer(): Offer | null {
    return this.#offer;
  }

  wake(offer: Offer | null): void {
    this.#woken = true;
    this.#offer = offer;
  }

  /** What comes from now on is about what is asked now. */
  notWoken(): void {
    this.#woken = false;
    this.#offer = null;
  }

  /** Why the backend did not answer the last command; `null` once it has. */
  get lastError(): LockStoreUnavailableError | null {
    return this.#lastError;
  }

  /** The backend has answered a command. */
  get heard(): boolean {
    return this.#heard;
  }

  /** The next request of this process. @param first the caller that waits longest. @param more whether others wait behind it. */
  request({ key, leaseTimeMs, waitTimeMs }: AcquireRequest, more: boolean): TakeRequest {
    const wait = waitTimeMs > 0 || more;
    if (wait) this.#traces = true;
    this.notWoken();
    this.#queued = null;
    const owner = (this.#owner ??= this.host.newOwner());
    return { key, owner, leaseTimeMs, wait, more, since: this.#since, attempt: this.#attempt };
  }

  answered(): void {
    this.#heard = true;
    this.#lastError = null;
    this.#failures = 0;
  }

  granted(): void {
    this.#since = null;
    this.#attempt = 0;
    this.#queued = null;
  }

  /** @returns an owner id to give back: a stray copy of an old command took the key for one that no longer exists. */
  busy(answer: Busy, sentAt: number): string | null {
    this.#attempt += 1;
    this.#isQueued(answer, sentAt);
    const { holder, offered } = answer;
    if (holder === null) return null;
    if (offered && !this.host.begun.has(holder)) {
      // Kept for this process under another owner id: that is the one to ask with. The former one was never granted.
      this.#owner = holder;
      this.#woken = true;
      return null;
    }
    if (!this.host.isDead(holder)) return null;
    this.#woken = true;
    return holder;
  }

  /** The key went to another process, and this one is queued again. */
  queuedAgain(answer: Pick<Busy, 'since' | 'latest'>, sentAt: number): void {
    this.#traces = true;
    this.#isQueued(answer, sentAt);
  }

  /**
   * When the command was sent after which the backend made this offer; `null` if it may have been made before. A message may have been on its way for any time
   * (in the buffer of a process that stood still), so its own age says nothing. But a turn that is offered is above all that had begun when
   * the process was told to wait: then it was made after that, and its time counts from no later than the sending of that command.
   */
  queuedBefore(offer: Offer): number | null {
    const queued = this.#queued;
    return queued && offer.tokens.first > queued.latest.first ? queued.sentAt : null;
  }

  #isQueued({ since, latest }: Pick<Busy, 'since' | 'latest'>, sentAt: number): void {
    this.#since = since;
    this.#queued = latest ? { sentAt, latest } : null;
  }

  /** A command failed, and nobody knows whether it was executed. */
  leftTraces(): void {
    this.#traces = true;
  }

  /** @returns how long to wait before the next attempt, in milliseconds. */
  failed(error: LockStoreUnavailableError): number {
    this.#lastError = error;
    this.#failures += 1;
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** (this.#failures - 1), LONGEST_BACKOFF_MS);
    return backoff * (0.75 + Math.random() / 2);
  }

  /** The owner id is dead from now on. */
  forgetOwner(): void {
    this.#owner = null;
    this.#traces = false;
  }

  /** Nobody here wants the key any more. @returns the owner ids to give back; none where the backend need not be told. */
  withdraw(): readonly string[] {
    const offer = this.#offer;
    const owners = this.#traces || (this.#woken && !offer) ? [this.#owner ?? ''] : [];
    this.forgetOwner();
    this.granted();
    this.notWoken();
    return offer ? [...owners, offer.owner] : owners;
  }
}
