import type { LockKey } from '../key/lock-key.js';
import type { KeyState, StoreTraits } from './lock-store.js';

/**
 * Consecutive fencing tokens that belong to one turn: `first`, `first + 1`, … (`size` of them).
 * Later turns of the same key start above the last one.
 */
export interface TokenBlock {
  readonly first: bigint;
  readonly size: number;
}

/** A process asks for a turn on a key. */
export interface TakeRequest {
  readonly key: LockKey;
  /** The id under which the process asks. The same id may ask again (a reply was lost): the answer is the same turn. */
  readonly owner: string;
  readonly leaseTimeMs: number;
  /** Tell this process when the key is free. `false` for a single try. */
  readonly wait: boolean;
  /** Further callers of this process wait behind the one that asks. */
  readonly more: boolean;
  /** The place in the queue that a former {@link Busy} answer gave, or `null`: a process that is overtaken keeps it. */
  readonly since: string | null;
  /** How many busy answers in a row this process has had; for backends that poll. */
  readonly attempt: number;
}

/** The connection that carries turns in a backend whose ownership is `session`. All its turns end with it. */
export interface TurnSession {
  /**
   * Until when the session counts, on the scale of `distributed-lock.clock.ts`: the time at which the last confirmed statement
   * was *sent*, plus the time the server keeps a silent session, less an allowance for clock drift. Moves; never again once it is over.
   */
  readonly validUntil: number;
  /** How long the server keeps a silent session, in milliseconds. */
  readonly timeoutMs: number;
}

/** The process has the key for a turn: for one caller after the other, without asking again. */
export interface Granted {
  readonly granted: true;
  /** `null` where the backend has no fencing tokens; then a turn is bounded by count and time alone. */
  readonly tokens: TokenBlock | null;
  /** What carries the turn; it then lives as long as the session, whatever its lease time. Without one it is a lease. */
  readonly session?: TurnSession;
}

export interface Busy {
  readonly granted: false;
  /** When to look again if no wake-up comes, in milliseconds. */
  readonly retryInMs: number;
  readonly since: string | null;
  /** Owner id in the key, if the backend can tell. */
  readonly holder: string | null;
  /** The last turn that had begun when this was answered, of whatever key: offers of turns up to it are out of date. Without one no offer counts. */
  readonly latest?: TokenBlock | null;
  /** The key is kept for this process, which was offered a turn under the owner id `holder` and seems not to have heard of it. */
  readonly offered?: boolean;
}

/**
 * A turn that the backend keeps for this process, which is told of it by a message: the process may begin it at once if the message is not out of date, and
 * confirms it by a `take` under its owner id. Under that id it is given back, too, if nobody wants it.
 */
export interface Offer {
  readonly owner: string;
  readonly tokens: TokenBlock;
  /** How long it is kept, in milliseconds, from some moment after the `take` or `pass` that queued the process. */
  readonly keptMs: number;
}

export interface TurnRef {
  readonly key: LockKey;
  readonly owner: string;
}

export interface HeldTurn extends TurnRef {
  readonly tokens: TokenBlock | null;
  readonly leaseTimeMs: number;
}

/** The answer to "does another process wait?" */
export type PassAnswer =
  /** Nobody does: the turn goes on with a full lease and fresh tokens. */
  | { readonly outcome: 'continues'; readonly tokens: TokenBlock | null }
  /** The other process goes next; this one is queued again. */
  | ({ readonly outcome: 'passed' } & Pick<Busy, 'retryInMs' | 'since' | 'latest'>)
  /** The turn was no longer this process's. */
  | { readonly outcome: 'lost' };

export interface GiveBackAnswer {
  /** Whether the key was this owner's until now. */
  readonly held: boolean;
  /** Whether a waiting process was woken. */
  readonly woke: boolean;
  /** Nothing changed, as the key is kept for this process: the owner id of the turn that it was offered and may not have heard of. */
  readonly offered?: string | null;
}

/** What a backend tells the queueing store by itself. */
export interface BackendListener {
  /** The key may be free: this process goes next. @param offer its turn, if the backend has given it one. */
  woken(key: LockKey, offer?: Offer | null): void;
  /** The backend can be reached (again): wake-ups may have been lost, so look at every waiting key. */
  ready(): void;
  /** Every turn that this session carried is over. */
  sessionEnded(session: TurnSession): void;
  /** Somebody has ended this hold by force, or may have: the backend says so when it is asked to renew it. A turn, or a place in the line. */
  evicted(hold: TurnRef): void;
}

/**
 * A backend that can only *try*: {@link QueueingLockStore} makes a store of it.
 *
 * Commands of one process are executed in the order they are sent. Every command may be repeated under the same owner id.
 * Commands reject with `LockStoreUnavailableError` (outcome unknown) or `LockConfigurationError` (a retry cannot help); they settle
 * in bounded time even when the backend does not answer.
 */
export interface TurnBackend {
  readonly traits: StoreTraits;
  open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void>;
  take(request: TakeRequest): Promise<Granted | Busy>;
  /** Asks whether another process waits; if so, it goes next. */
  pass(turn: HeldTurn): Promise<PassAnswer>;
  /** @returns per turn, whether it is still this process's; then its lease is at least `leaseTimeMs` from now. */
  renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]>;
  /**
   * Ends a turn and wakes the next process. Also undoes a `take` whose outcome is unknown; after it the owner id must not be used again.
   *
   * @param turn `owner` `''` owns nothing: it only passes a wake-up on that nobody here needs.
   * @param more callers of this process still wait: stay queued.
   */
  giveBack(turn: TurnRef, more: boolean): Promise<GiveBackAnswer>;
  /**
   * Ends a turn, and keeps the key closed for so long although nobody has it: also for the process that had it. Backends whose server can be told
   * that (trait `keeps: 'server'`); for the others this process goes on with the turn.
   *
   * @returns whether the key was this owner's until now; if not, nothing changed.
   */
  keep?(turn: TurnRef, keepForMs: number): Promise<boolean>;
  /**
   * Who holds the key, in a turn or otherwise. Backends whose trait `showsHolders` is not `none`.
   *
   * @returns `waiters` without the callers of this process that wait for a turn.
   */
  stateOf?(key: LockKey): Promise<KeyState>;
  /**
   * Ends whatever turn the key is in, and every other hold of it, and wakes whoever goes next; opens a key that is kept closed. Backends whose trait
   * `forceRelease` is not `none`. Processes that can be told by a message are told: see {@link BackendListener.evicted}.
   *
   * @returns the holds that were ended; of those of other sessions, only that there was one.
   */
  forceRelease?(key: LockKey): Promise<readonly TurnRef[]>;
  close(): Promise<void>;
}
