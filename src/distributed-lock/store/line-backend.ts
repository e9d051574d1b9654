import type { LockKey } from '../key/lock-key.js';
import type { Admission } from './lock-store.js';
import type { TurnRef, TurnSession } from './turn-backend.js';

/** One caller's place in the line of a key. */
export interface LinePlace {
  readonly key: LockKey;
  /** Id of this acquisition, never reused: once a {@link LineBackend.leave} was sent for it, it is dead. */
  readonly owner: string;
  readonly admission: Admission;
}

/** A caller asks to be let in. */
export interface EnterRequest {
  readonly place: LinePlace;
  readonly leaseTimeMs: number;
  /** Keep a place in the line. `false` for a single try. */
  readonly wait: boolean;
  /** Since when it stands in the line, from a former {@link NotYet}; `null` if it does not yet. Whoever lost the place takes it again. */
  readonly since: string | null;
  /** How many times in a row it was not let in; for backends that poll. */
  readonly attempt: number;
}

/** The caller holds the key for at least the lease from now. */
export interface Admitted {
  readonly admitted: true;
  /** Of an exclusive holder; `null` for the others, and where the backend has no tokens. */
  readonly token: bigint | null;
  /** What carries the hold; it then lives as long as the session, whatever its lease time. Without one it is a lease. */
  readonly session?: TurnSession;
}

export interface NotYet {
  readonly admitted: false;
  /** When to look again if nobody calls, in milliseconds. */
  readonly retryInMs: number;
  readonly since: string | null;
  /** The owner id whose lease ends first, if the backend can tell. */
  readonly holder: string | null;
}

export interface HeldPlace {
  readonly place: LinePlace;
  readonly token: bigint | null;
  readonly leaseTimeMs: number;
}

/** What a backend tells the line by itself. */
export interface LineListener {
  /**
   * The caller was let in, for a short time: it asks again, under the same owner id, and so confirms that it lives.
   *
   * @param inMs `0`; else it was not let in, but shall look after so many milliseconds: the one ahead of it may be frozen.
   */
  called(place: LinePlace, inMs: number): void;
  /** The backend can be reached (again): calls may have been lost, so every waiting caller looks. */
  ready(): void;
  /** Every hold that this session carried is over. */
  sessionEnded(session: TurnSession): void;
  /** Somebody has ended this hold by force, or may have: the backend says so when it is asked to renew it. */
  evicted(hold: TurnRef): unknown;
}

/**
 * Where callers stand in a line of their own, each for itself: shared holders, permits, and exclusive ones in order of arrival.
 *
 * The line of a key and its turns exclude each other; processes that wait for a turn have their place in the same order.
 *
 * - A caller is let in when it is compatible with those inside, and nobody waits ahead of it.
 * - Whoever leaves lets in those who may enter now. One that is dead is skipped; one that does not confirm within the claim window
 *   loses its admission and keeps its place.
 * - Holders whose lease is over are out, whoever looks.
 *
 * Every command may be repeated, and may be executed late, under the same owner id. They reject as those of `TurnBackend` do.
 */
export interface LineBackend {
  /** Told once, before the backend is opened. */
  listen(listener: LineListener): void;
  enter(request: EnterRequest): Promise<Admitted | NotYet>;
  /** @returns per place, whether it is still held; then its lease is at least `leaseTimeMs` from now. Never lets anybody in. */
  renew(held: readonly HeldPlace[]): Promise<readonly boolean[]>;
  /**
   * Gives the place up, inside or in the line, and lets in those who may enter now.
   *
   * @returns whether it was inside.
   */
  leave(place: LinePlace): Promise<boolean>;
}
