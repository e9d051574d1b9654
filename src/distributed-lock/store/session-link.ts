import type { LockKey } from '../key/lock-key.js';

/** The names of one key's locks in the backend. */
export interface LockId {
  /** Of the lock itself. Two keys may share one: then they exclude each other. */
  readonly lock: string;
  /** Of the mark that a process waits for it. */
  readonly wait: string;
}

export interface TakeRow {
  readonly id: LockId;
  readonly key: LockKey;
  /** Leave a mark if the key is busy. */
  readonly wait: boolean;
  /** This session has left its mark already. */
  readonly marked: boolean;
  /** This session shares the lock itself, so that the server would let it in: the lock is not to be taken. */
  readonly shared: boolean;
  /** This session keeps the gate already: nobody else comes to share. */
  readonly gated: boolean;
  /** Leave the gate open where others have waited to share before. */
  readonly polite: boolean;
}

export interface TakeOutcome {
  /** Number of the turn, greater than that of every earlier turn of the key; `null` if another session has the lock. */
  readonly turn: bigint | null;
  /** Whether this session's mark stands now. */
  readonly marked: boolean;
  /** Whether this session keeps the gate now. Default `false`. */
  readonly gated?: boolean;
  /** The gate was in use at this very moment: ask again soon. Default `false`. */
  readonly again?: boolean;
}

export interface PassRow {
  readonly id: LockId;
  readonly key: LockKey;
  readonly marked: boolean;
  /** Somebody of this process waits for the same lock under another key: it goes next in any case. */
  readonly mustPass: boolean;
}

export interface PassOutcome {
  /** Number of the turn that goes on; `null` if the lock was given up, because another session waits. */
  readonly turn: bigint | null;
  readonly marked: boolean;
}

export interface GiveBackRow {
  readonly id: LockId;
  readonly unlock: boolean;
  /** What is to be unlocked is a share. */
  readonly shared: boolean;
  readonly unmark: boolean;
  /** Take away the mark that some wait to share. */
  readonly unmarkShare: boolean;
  readonly openGate: boolean;
}

export interface GiveBackOutcome {
  /** Whether the lock was this session's until now; `false` if nothing was to be unlocked. */
  readonly held: boolean;
  readonly woke: boolean;
}

export interface ShareRow {
  readonly id: LockId;
  readonly wait: boolean;
  readonly marked: boolean;
  /** The mark that some of this session wait to share stands already. */
  readonly shareMarked: boolean;
  /** This session shares the lock already: only the gate is asked. */
  readonly shared: boolean;
  /** Once these are in, nobody of this session waits to share. */
  readonly lastSharer: boolean;
  /** Once these are in, nobody of this session waits. */
  readonly last: boolean;
}

export interface ShareOutcome {
  readonly shares: boolean;
  readonly marked: boolean;
  readonly shareMarked: boolean;
}

/**
 * One connection to a server that frees a session's locks when the session ends. Used for one statement at a time; it never
 * waits for a lock inside the server.
 *
 * A row's lock is never held by this session when it is taken, and always when it is passed or unlocked: the caller sees to it, because
 * such locks may be taken twice by the session that has them.
 */
export interface SessionLink {
  /** Connects, checks the server's set-up, prepares the session. Called once. */
  connect(): Promise<void>;
  idOf(key: LockKey): LockId;
  /** Answers in the order of the rows. If it rejects, none of the rows is held, or the link is destroyed. */
  take(rows: readonly TakeRow[]): Promise<readonly TakeOutcome[]>;
  pass(row: PassRow): Promise<PassOutcome>;
  giveBack(rows: readonly GiveBackRow[]): Promise<readonly GiveBackOutcome[]>;
  /** Any statement that the server answers. */
  ping(): Promise<unknown>;
  /** Says goodbye: the server frees what the session holds. */
  end(): Promise<unknown>;
  /** Drops the connection without a word. May be called at any time, more than once. */
  destroy(): void;
}

/** A session whose locks can be shared with other sessions. */
export interface SharingLink extends SessionLink {
  /** Answers in the order of the rows, which are about different locks. If it rejects, nothing of it stands, or the link is destroyed. */
  share(rows: readonly ShareRow[]): Promise<readonly ShareOutcome[]>;
}

/** What a link tells by itself. */
export interface LinkListener {
  /** The connection is gone. */
  ended(detail: string): void;
  /** The lock may be free. */
  woken(lock: string): void;
}
