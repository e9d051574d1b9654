import { LockConfigurationError, LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import { CommandLane, type LaneCommand } from './command-lane.js';
import type { LockSession } from './lock-session.js';
import { SessionHolds } from './session-holds.js';
import { type SessionKind, SessionKeeper } from './session-keeper.js';
import type { SessionLink } from './session-link.js';

/** What the users of a desk are told. */
export interface DeskListener<Link extends SessionLink> {
  ready(): void;
  sessionEnded(session: LockSession<Link>): void;
  /** The lock may be free. @param except a key whose turn has just had it. */
  woken(lock: string, except: LockKey | null): void;
}

/** A session and what it has. */
export interface OpenSession<Link extends SessionLink> {
  readonly session: LockSession<Link>;
  readonly holds: SessionHolds;
}

type Handler = (batch: readonly LaneCommand[]) => Promise<void>;

/** The one session of a process, its holds, and the lane in which everything is asked of it, one thing after the other. */
export class SessionDesk<Link extends SessionLink> {
  readonly #keeper: SessionKeeper<Link>;
  readonly #handlers = new Map<string, Handler>();
  readonly #lane = new CommandLane<LaneCommand>((batch) => this.#send(batch));
  readonly #listeners: DeskListener<Link>[] = [];
  #holds: SessionHolds | null = null;

  constructor(private readonly kind: SessionKind<Link>) {
    this.#keeper = new SessionKeeper(kind, {
      started: (session) => {
        this.#holds = new SessionHolds(session.link);
        for (const it of this.#listeners) it.ready();
      },
      ended: (session) => {
        this.#holds = null;
        for (const it of this.#listeners) it.sessionEnded(session);
      },
      woken: (_session, lock) => this.wake(lock),
    });
  }

  /** Without a session nothing is held, and no place is kept. */
  get open(): OpenSession<Link> | null {
    const { session } = this.#keeper;
    return session && this.#holds ? { session, holds: this.#holds } : null;
  }

  /** @throws what keeps the session from being there. */
  get current(): OpenSession<Link> {
    if (this.open) return this.open;
    throw this.#keeper.failure;
  }

  listen(listener: DeskListener<Link>): void {
    this.#listeners.push(listener);
  }

  /** @param handler settles every command of a batch, or rejects: then each of them is rejected. */
  serve<Command extends LaneCommand>(
    kind: Command['kind'],
    handler: (batch: readonly Command[]) => Promise<void>,
  ): void {
    this.#handlers.set(kind, handler as unknown as Handler);
  }

  push(command: LaneCommand): void {
    this.#lane.push(command);
  }

  connect(namespace: string, timeoutMs: number): Promise<void> {
    return this.#keeper.open(namespace, timeoutMs);
  }

  async close(): Promise<void> {
    await this.#keeper.close();
    this.#holds = null;
  }

  /** Tells those of this process who wait for the lock. */
  wake(lock: string, except: LockKey | null = null): void {
    for (const it of this.#listeners) it.woken(lock, except);
  }

  /** Errors name the key of the call, also those that concern the whole session. */
  error(error: unknown, key: LockKey | null): Error {
    const known = this.kind.toError(error);
    if (known instanceof LockConfigurationError || key === null) return known;
    return new LockStoreUnavailableError(this.kind.store, key, known.detail, { cause: known });
  }

  async #send(batch: readonly [LaneCommand, ...LaneCommand[]]): Promise<void> {
    try {
      await this.#handlers.get(batch[0].kind)!(batch);
    } catch (error) {
      for (const command of batch) command.reject(this.error(error, command.key));
    }
  }
}
