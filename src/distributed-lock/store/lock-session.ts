import { now } from '../distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { SessionLink } from './session-link.js';
import { usableLease } from './turn.js';
import type { TurnSession } from './turn-backend.js';

/**
 * The life of one connection that carries locks: over when the connection ends, or when the server has not confirmed it for so long
 * that it may have given the locks away. Once over, it stays over.
 *
 * While nothing is asked, it asks the server for an answer after each third of the session time.
 */
export class LockSession<Link extends SessionLink = SessionLink> implements TurnSession {
  #validUntil: number;
  #confirmedAt: number;
  #over: string | null = null;
  /** Statements are sent one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #abort: ((error: Error) => void) | null = null;
  #confirming: Promise<unknown> | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** @param confirmedAt when the last statement that the server has answered was sent. */
  constructor(
    private readonly store: string,
    readonly link: Link,
    readonly timeoutMs: number,
    confirmedAt: number,
    private readonly onEnd: (session: LockSession<Link>, detail: string) => void,
  ) {
    this.#confirmedAt = confirmedAt;
    this.#validUntil = confirmedAt + usableLease(timeoutMs);
    this.#arm();
  }

  get validUntil(): number {
    return this.#over === null ? this.#validUntil : -Infinity;
  }

  get isOver(): boolean {
    return now() >= this.validUntil;
  }

  /**
   * Sends a statement when those before it are answered.
   *
   * @throws {LockStoreUnavailableError} when the session ends first, so in bounded time.
   */
  run<T>(statement: (link: Link) => Promise<T>): Promise<T> {
    const answer = this.#last.then(() => this.#send(statement));
    this.#last = answer.catch(() => undefined); // its caller has the error
    return answer;
  }

  /** Resolves when the server has confirmed the session anew. */
  confirm(): Promise<unknown> {
    this.#confirming ??= this.run((link) => link.ping()).finally(() => (this.#confirming = null));
    return this.#confirming;
  }

  /** The locks are gone, or must be thought gone. */
  end(detail: string): void {
    if (this.#over !== null) return;
    this.#over = detail;
    if (this.#timer) clearTimeout(this.#timer);
    this.link.destroy();
    this.#abort?.(this.#gone());
    this.onEnd(this, detail);
  }

  /** Ends the session at the server, within `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const goodbye = this.run((link) => link.end()).catch(() => undefined); // the connection is dropped in any case
    const timeout = new Promise((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    await Promise.race([goodbye, timeout]);
    clearTimeout(timer);
    this.end('closed');
  }

  #send<T>(statement: (link: Link) => Promise<T>): Promise<T> {
    if (this.isOver) {
      this.#expire();
      return Promise.reject(this.#gone());
    }
    const sentAt = now();
    return new Promise<T>((resolve, reject) => {
      this.#abort = reject;
      statement(this.link).then((value) => {
        this.#confirmed(sentAt);
        resolve(value);
      }, reject);
    }).finally(() => (this.#abort = null));
  }

  #confirmed(sentAt: number): void {
    // An answer that comes too late revives nothing: its holders have been told, or have seen the clock.
    if (this.isOver) return this.#expire();
    this.#confirmedAt = sentAt;
    this.#validUntil = sentAt + usableLease(this.timeoutMs);
  }

  /** Looks often enough to ask in time, and at the very moment at which the session is over. */
  #arm(): void {
    const pause = Math.min(this.timeoutMs / 12, this.#validUntil - now());
    this.#timer = setTimeout(() => this.#beat(), Math.max(pause, 1));
    this.#timer.unref();
  }

  #beat(): void {
    if (this.isOver) return this.#expire();
    this.#arm();
    const due = now() - this.#confirmedAt >= this.timeoutMs / 4;
    if (due && !this.#abort) this.confirm().catch(() => undefined); // the deadline decides, not one answer
  }

  #expire(): void {
    this.end(`the session was not confirmed for ${this.timeoutMs} ms`);
  }

  #gone(): LockStoreUnavailableError {
    return new LockStoreUnavailableError(this.store, null, this.#over ?? 'the session ended');
  }
}
