import type { LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { QueueHost } from './queue-host.js';
import type { Busy, TakeRequest } from './turn-backend.js';

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
  woken = false;
  #owner: string | null = null;
  /** Place in the backend's queue, kept when another process was faster. */
  #since: string | null = null;
  #attempt = 0;
  /** A command with the current owner id may have left a trace in the backend: a place in its queue, or the key itself. */
  #traces = false;
  #heard = false;
  #failures = 0;
  #lastError: LockStoreUnavailableError | null = null;

  constructor(private readonly owners: Pick<QueueHost, 'newOwner'>) {}

  /** Why the backend did not answer the last command; `null` once it has. */
  get lastError(): LockStoreUnavailableError | null {
    return this.#lastError;
  }

  /** The backend has answered a command. */
  get heard(): boolean {
    return this.#heard;
  }

  /** The next request of this process. */
  request(key: LockKey, leaseTimeMs: number, wait: boolean, more: boolean): TakeRequest {
    if (wait) this.#traces = true;
    this.woken = false;
    const owner = (this.#owner ??= this.owners.newOwner());
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
  }

  busy(answer: Busy): void {
    this.#since = answer.since;
    this.#attempt += 1;
  }

  /** The key went to another process, and this one is queued again. */
  queuedAgain(since: string | null): void {
    this.#since = since;
    this.#traces = true;
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

  /** Nobody here wants the key any more. @returns the owner id to give back, or `null` where the backend need not be told. */
  withdraw(): string | null {
    const mustTell = this.#traces || this.woken;
    const owner = this.#owner ?? '';
    this.forgetOwner();
    this.granted();
    return mustTell ? owner : null;
  }
}
