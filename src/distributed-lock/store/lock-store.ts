import type { LossReason } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';

/** Documented differences between stores. Tested, and a request that a store cannot keep fails at boot. */
export interface StoreTraits {
  /** Name in errors, logs and metrics, such as `redis`. */
  readonly name: string;
  /** `lease`: a grant ends unless it is renewed. `session`: a grant lives as long as the connection that carries it. */
  readonly ownership: 'lease' | 'session';
  /** Fencing tokens that grow per key, over all keys of the store, or none. */
  readonly fencing: 'none' | 'per-key' | 'store-wide';
  /** Order in which waiters are served: over all processes, within each process, or none. */
  readonly fair: 'fifo' | 'process' | 'none';
  /** How waiters learn of a release. A pushing store still looks by itself from time to time. */
  readonly wakes: 'push' | 'poll';
  /** Who sees the locks: this process, or everybody who reaches the server. */
  readonly reach: 'process' | 'server';
  /** What a request may ask for beyond one holder at a time in the store's own order: see {@link Admission}. */
  readonly offers: readonly Offer[];
  /** Whether a key that is kept closed after its release stays closed when the process that released it ends. */
  readonly keeps: 'server' | 'process';
  /**
   * What {@link LockStore.stateOf} says of a holder: its owner id and fencing token; only the session that carries the hold, as the server
   * knows it; or nothing.
   */
  readonly showsHolders: 'owner-and-token' | 'session' | 'none';
  /**
   * What {@link LockStore.forceRelease} ends. `hold`: the holds of the key. `session`: the session that carries the hold, and with it **every** hold
   * of that process; a hold of the process that asks is ended alone. `none`: the store cannot.
   */
  readonly forceRelease: 'hold' | 'session' | 'none';
}

/** `shared`: holders that tolerate each other. `permits`: several holders of one key. `fair`: order of arrival over all processes. */
export type Offer = 'shared' | 'permits' | 'fair';

/**
 * Who may hold a key together, and in which order callers are served.
 *
 * - `exclusive`: one holder, and nobody else
 * - `shared`: any number of shared holders; a caller that wants the key exclusively is not overtaken by later ones
 * - `permit`: at most `permits` holders of this kind
 *
 * Kinds exclude each other: a key that is held in one is busy for the others.
 */
export interface Admission {
  readonly mode: 'exclusive' | 'shared' | 'permit';
  /** How many may hold the key at a time, from 1; of a `permit`. */
  readonly permits?: number;
  /** In order of arrival over all processes. A store whose order is that anyway needs no telling. */
  readonly fair: boolean;
}

/** Who holds a key, as its store sees it. */
export interface Holder {
  /**
   * The owner id of the hold, or the part it begins with: a store that gives turns to processes knows the turn, and `hold.owner` adds a number to it.
   * Of a store that knows sessions only: `session 4711`, the server's own number.
   */
  readonly owner: string;
  readonly mode: Admission['mode'];
  /**
   * The fencing token of the hold, or the first one of its turn: the hold has that one or one of the turn's next, and all later turns have greater ones.
   * `null` for holders that are not alone, and where the store does not know.
   */
  readonly fencingToken: bigint | null;
  /** How long the hold lasts if it is not renewed, in milliseconds. `null` where it lasts as long as its session. */
  readonly leaseLeftMs: number | null;
}

/** A key, as its store sees it at one moment. */
export interface KeyState {
  /** Empty: nobody holds it. */
  readonly holders: readonly Holder[];
  /**
   * How many calls wait for it, at least: another process whose calls queue behind each other counts as one. `null` where the store cannot tell.
   */
  readonly waiters: number | null;
  /** How long the key stays closed although nobody holds it any more, in milliseconds; `null` where it does not, or the store cannot tell. */
  readonly keptForMs: number | null;
}

/** One attempt to get a key. */
export interface AcquireRequest {
  readonly key: LockKey;
  readonly leaseTimeMs: number;
  /** Default: one holder at a time, in the store's own order. Never more than the store {@link StoreTraits.offers | offers}. */
  readonly admission?: Admission | undefined;
  /** How long to queue; `0` tries once. */
  readonly waitTimeMs: number;
  /** Ends the wait; the attempt rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The store's word that an owner has the key. Made by the store, handed back to it on renewal and release. */
export interface LockGrant {
  readonly key: LockKey;
  /** Id of this acquisition; never reused. */
  readonly owner: string;
  readonly fencingToken: bigint | null;
  /**
   * Until when the grant counts, on the scale of `distributed-lock.clock.ts`, in milliseconds: the time at which the last
   * confirmed command was *sent*, plus the lease, less an allowance for clock drift. Moves with each renewal.
   */
  readonly validUntil: number;
  /** Called once if the store learns that the grant is gone. Not called for the deadline, which the holder watches itself. */
  onLost: ((reason: LossReason) => void) | null;
}

export interface Renewal {
  readonly grant: LockGrant;
  readonly leaseTimeMs: number;
}

export type ReleaseResult = 'released' | 'not-held';

/**
 * Where lock state lives. One implementation per backend.
 *
 * Every store passes the contract of `testing/contract/`, which `runContract` runs over any store. A promise made here and not tested there is not a promise.
 */
export interface LockStore {
  readonly traits: StoreTraits;

  /**
   * Prepares the store for one module: connects, checks the server's set-up.
   *
   * @param namespace prefix of every key, already checked.
   * @throws {LockStoreUnavailableError} if the backend cannot be reached in `timeoutMs`; the store goes on trying.
   * @throws {LockConfigurationError} if the server's set-up cannot carry locks.
   */
  open(namespace: string, timeoutMs: number): Promise<void>;

  /**
   * Waits for the key as the backend does it best.
   *
   * Never grants a key twice at a time, not even to callers of the same process.
   *
   * @returns the grant, or `null` if another owner kept the key for `waitTimeMs`.
   * @throws the signal's reason if it aborts first.
   * @throws {LockStoreUnavailableError} if the backend could not answer in `waitTimeMs`. Nothing is left held past the lease.
   * @throws {LockClosedError} once `close` was called.
   */
  acquire(request: AcquireRequest): Promise<LockGrant | null>;

  /**
   * Extends leases to at least `leaseTimeMs` from now; never shortens one.
   *
   * @returns per grant, whether the store still honours it; a grant that is gone is never re-created.
   * @throws {LockStoreUnavailableError} if the backend cannot answer; then nothing is known.
   */
  renew(renewals: readonly Renewal[]): Promise<readonly boolean[]>;

  /**
   * Gives the key to the next waiter. A grant that is not held changes nothing.
   *
   * @param keepForMs keeps the key closed for so long first, though nobody holds it any more; see {@link StoreTraits.keeps}.
   * @throws {LockStoreUnavailableError} if the backend cannot be told now; the store goes on telling it until the lease is over.
   */
  release(grant: LockGrant, keepForMs?: number): Promise<ReleaseResult>;

  /**
   * Forgets the grant without telling the backend: the key stays closed until its lease is over.
   * For a commit whose outcome is unknown.
   */
  abandon(grant: LockGrant): void;

  /**
   * Who holds the key now. Changes nothing. A store whose trait {@link StoreTraits.showsHolders} is `none` need not have it.
   *
   * @throws {LockStoreUnavailableError} if the backend cannot answer.
   */
  stateOf?(key: LockKey): Promise<KeyState>;

  /**
   * Ends every hold of the key, whoever has it, and lets the next waiters in; opens a key that is kept closed. Evicted holders are told
   * (`onLost`): those of this store before it resolves, others as soon as the backend can tell them, and at their next renewal at the latest. A store whose
   * trait {@link StoreTraits.forceRelease} is `none` need not have it.
   *
   * @returns how many {@link KeyState.holders | holders} it has ended.
   * @throws {LockStoreUnavailableError} if the backend cannot answer; then nothing is known.
   * @throws {LockConfigurationError} if the server does not permit it.
   */
  forceRelease?(key: LockKey): Promise<number>;

  /** Ends every wait with {@link LockClosedError} and grants nothing any more. Grants that are out go on until they are released. */
  stop(): void;

  /** {@link stop}s, gives up what is still out, closes connections that the store opened itself. */
  close(): Promise<void>;
}
