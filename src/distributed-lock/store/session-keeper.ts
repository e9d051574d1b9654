import { now } from '../distributed-lock.clock.js';
import {
  LockConfigurationError,
  type LockStoreUnavailableError,
} from '../distributed-lock.errors.js';
import { LockSession } from './lock-session.js';
import type { LinkListener, SessionLink } from './session-link.js';

/** What the keeper needs to know about a kind of session. */
export interface SessionKind<Link extends SessionLink> {
  /** Name of the store, for errors. */
  readonly store: string;
  /** How long the server keeps a silent session, in milliseconds; also how long connecting may take. */
  readonly timeoutMs: number;
  newLink(namespace: string, listener: LinkListener): Link;
  /** Sorts what a link threw: `LockConfigurationError` where a retry cannot help. */
  toError(error: unknown): LockConfigurationError | LockStoreUnavailableError;
}

export interface SessionListener<Link extends SessionLink> {
  started(session: LockSession<Link>): void;
  ended(session: LockSession<Link>): void;
  woken(session: LockSession<Link>, lock: string): void;
}

const RECONNECT_MS = 10;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
const GOODBYE_MS = 1_000;

/** Keeps one session open, and opens the next when it has ended. */
export class SessionKeeper<Link extends SessionLink> {
  #session: LockSession<Link> | null = null;
  /** The link that is being connected. */
  #connecting: Link | null = null;
  #failure: LockConfigurationError | LockStoreUnavailableError;
  #failures = 0;
  #timer: NodeJS.Timeout | null = null;
  #open = false;
  #namespace = '';
  #firstOutcome: (() => void) | null = null;

  constructor(
    private readonly kind: SessionKind<Link>,
    private readonly listener: SessionListener<Link>,
  ) {
    this.#failure = kind.toError('not connected yet');
  }

  /** The session of now, or `null` while there is none. */
  get session(): LockSession<Link> | null {
    return this.#session;
  }

  /** Why there is no session. */
  get failure(): LockConfigurationError | LockStoreUnavailableError {
    return this.#failure;
  }

  /**
   * Resolves with the first session. Goes on trying after it has rejected.
   *
   * @throws {LockConfigurationError} if the server refuses, or is refused.
   * @throws {LockStoreUnavailableError} if there is no session after `timeoutMs`.
   */
  async open(namespace: string, timeoutMs: number): Promise<void> {
    this.#open = true;
    this.#namespace = namespace;
    if (this.#session) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
      this.#firstOutcome = resolve;
      void this.#connect();
    });
    clearTimeout(timer);
    this.#firstOutcome = null;
    if (!this.#session) throw this.#failure;
  }

  async close(): Promise<void> {
    this.#open = false;
    if (this.#timer) clearTimeout(this.#timer);
    this.#connecting?.destroy();
    await this.#session?.close(GOODBYE_MS);
  }

  async #connect(): Promise<void> {
    if (!this.#open || this.#session || this.#connecting) return;
    let session: LockSession<Link> | null = null;
    let endedEarly: string | null = null;
    const link = this.kind.newLink(this.#namespace, {
      ended: (detail) => (session ? session.end(detail) : (endedEarly = detail)),
      woken: (lock) => session && this.listener.woken(session, lock),
    });
    this.#connecting = link;
    try {
      const confirmedAt = await this.#prepare(link);
      session = new LockSession(
        this.kind.store,
        link,
        this.kind.timeoutMs,
        confirmedAt,
        (over, why) => this.#ended(over, why),
      );
    } catch (error) {
      link.destroy();
      return this.#failed(error);
    } finally {
      this.#connecting = null;
    }
    if (!this.#open) return session.close(GOODBYE_MS);
    this.#session = session;
    this.#failures = 0;
    this.listener.started(session);
    this.#firstOutcome?.();
    if (endedEarly !== null) session.end(endedEarly);
  }

  /** @returns when the last statement that was answered had been sent. */
  async #prepare(link: Link): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      const { timeoutMs } = this.kind;
      timer = setTimeout(
        () => reject(new Error(`no connection within ${timeoutMs} ms`)),
        timeoutMs,
      );
      timer.unref();
    });
    const prepared = link.connect().then(async () => {
      const sentAt = now();
      await link.ping();
      return sentAt;
    });
    try {
      return await Promise.race([prepared, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  #failed(error: unknown): void {
    this.#failure = this.kind.toError(error);
    if (this.#failure instanceof LockConfigurationError) this.#firstOutcome?.();
    this.#failures += 1;
    this.#connectLater(Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), LONGEST_PAUSE_MS));
  }

  #ended(session: LockSession<Link>, detail: string): void {
    if (this.#session !== session) return;
    this.#session = null;
    this.#failure = this.kind.toError(detail);
    this.listener.ended(session);
    this.#connectLater(RECONNECT_MS);
  }

  #connectLater(pauseMs: number): void {
    if (!this.#open) return;
    this.#timer = setTimeout(() => void this.#connect(), pauseMs * (0.75 + Math.random() / 2));
    this.#timer.unref();
  }
}
