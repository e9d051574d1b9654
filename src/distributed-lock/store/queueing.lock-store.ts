import { now } from '../distributed-lock.clock.js';
import { LockClosedError } from '../distributed-lock.errors.js';
import { TransientMap } from '../distributed-lock.transient-map.js';
import type { LockKey } from '../key/lock-key.js';
import { Countdowns } from './countdown.js';
import { KeyQueue } from './key-queue.js';
import type {
  AcquireRequest,
  KeyState,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from './lock-store.js';
import { OwnersUntil } from './owners-until.js';
import { endHolds, keyState, lookAt } from './operator.js';
import { Grant } from './turn.js';
import type { HeldTurn, Offer, TurnBackend, TurnRef } from './turn-backend.js';
import type { QueueHost } from './queue-host.js';
import { Postponed } from './postponed.js';
import { unavailable } from './trouble.js';
import { UntoldReleases } from './untold-releases.js';
import { Waiter, type WaiterHost } from './wait-list.js';

/** Default of {@link TurnBounds.maxGrants}. Counts for short work only: from 1.6 ms of work on, the time is over first. */
export const TURN_GRANTS = 32;

/** How long one process may keep a key while callers of other processes wait for it. */
export interface TurnBounds {
  /** Callers served in a row before other processes are considered. 1 to 1000. Default `32`. */
  readonly maxGrants?: number;
  /** The same as a time, in milliseconds; a caller that is inside may finish. Default `50`. */
  readonly maxTimeMs?: number;
}

/**
 * The waiting room shared by all stores whose backend can only *try*: a queue per key in this process, one contender per key
 * at the backend, and turns in which the lock goes from caller to caller without a command.
 */
export class QueueingLockStore implements LockStore, QueueHost, WaiterHost {
  readonly traits: StoreTraits;
  readonly maxGrants: number;
  readonly maxTurnMs: number;
  readonly begun = new OwnersUntil();
  readonly #queues = new TransientMap<LockKey, KeyQueue>();
  readonly #waits = new Countdowns<Waiter>((waiter) => this.#timedOut(waiter));
  readonly #untold: UntoldReleases;
  /** Ends of turns that this process goes on with to keep their keys closed. */
  readonly #kept = new Postponed();
  /** Owner ids whose keys are left to their lease on purpose, until it is over. */
  readonly #abandoned = new OwnersUntil();
  #serial = 0;
  #closed = false;

  constructor(
    readonly backend: TurnBackend,
    /** Random id of this store object; every owner id starts with it. */
    private readonly processId: string,
    bounds: TurnBounds = {},
  ) {
    this.traits = backend.traits;
    this.maxGrants = bounds.maxGrants ?? TURN_GRANTS;
    this.maxTurnMs = bounds.maxTimeMs ?? 50;
    this.#untold = new UntoldReleases({
      giveBack: (turn, more) => this.#giveBack(turn, more),
      ...(backend.keep && { keep: backend.keep.bind(backend) }),
    });
  }

  open(namespace: string, timeoutMs: number): Promise<void> {
    this.#closed = false;
    this.#untold.resume();
    return this.backend.open(namespace, timeoutMs, {
      woken: (key, offer) => this.#wake(key, offer ?? null),
      ready: () => {
        this.#untold.retryNow();
        for (const queue of this.#queues.values()) queue.wake(null);
      },
      sessionEnded: (session) => {
        for (const queue of this.#queues.values()) queue.sessionEnded(session);
      },
      evicted: (turn) => void this.#lookAt(turn),
    });
  }

  acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (this.#closed) return Promise.reject(new LockClosedError(request.key));
    if (request.signal?.aborted) return Promise.reject(request.signal.reason);
    return new Promise((resolve, reject) => {
      const queue = this.#queue(request.key);
      const waiter = new Waiter(request, queue, this, resolve, reject);
      if (request.waitTimeMs > 0) this.#waits.add(waiter, request.waitTimeMs);
      queue.add(waiter);
    });
  }

  async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    const asked = renewals.map(
      ({ grant, leaseTimeMs }) => this.#held(grant)?.grant.turn.ref(leaseTimeMs) ?? null,
    );
    const turns = asked.filter((turn) => turn !== null);
    if (turns.length === 0) return asked.map(() => false);
    const sentAt = now();
    const answers = (await this.backend.renew(turns)).values();
    return renewals.map(({ grant }, index) => {
      const turn = asked[index] ?? null;
      return turn !== null && this.#renewed(grant, turn, answers.next().value === true, sentAt);
    });
  }

  release(grant: LockGrant, keepForMs = 0): Promise<ReleaseResult> {
    const held = this.#held(grant);
    if (!held) return Promise.resolve('not-held');
    const isKept = keepForMs > 0 && !held.grant.turn.isOver;
    return isKept ? this.#keep(held, keepForMs) : held.queue.release(held.grant);
  }

  abandon(grant: LockGrant): void {
    const held = this.#held(grant);
    if (!held) return;
    const { turn } = held.grant;
    // Not the local deadline: the server keeps the key a little longer than its holder may believe in it.
    this.#abandoned.add(turn.owner, now() + turn.leaseTimeMs);
    held.queue.abandon(held.grant);
    if (turn.session) {
      // The session goes on without the hold, so its end would not free the key: the lease is counted here.
      setTimeout(() => void this.giveBack(grant.key, turn.owner), turn.leaseTimeMs).unref();
    }
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return keyState(this.backend, key, this.#queues.get(key)?.waiting ?? 0);
  }

  async forceRelease(key: LockKey): Promise<number> {
    return (await this.endHolds(key)).length;
  }

  /** @returns the holds that were ended; those of turns of this store have been told. */
  async endHolds(key: LockKey): Promise<readonly TurnRef[]> {
    const ended = await endHolds(this.backend, key);
    await Promise.all(ended.map((hold) => this.#lookAt(hold)));
    return ended;
  }

  stop(): void {
    this.#closed = true;
    for (const queue of this.#queues.values()) queue.rejectAll(new LockClosedError(queue.key));
  }

  async close(): Promise<void> {
    this.stop();
    for (const queue of this.#queues.values()) queue.giveUp();
    const freed = this.#kept.now();
    // A call that was under way may still bring a key; it is given back, not left to its lease.
    await Promise.all([...this.#queues.values()].map((queue) => queue.settled()));
    await this.#untold.settle();
    await freed;
    await this.backend.close();
    this.#waits.end();
  }

  newOwner(): string {
    this.#serial += 1;
    return `${this.processId}:${this.#serial}`;
  }

  isDead(holder: string): boolean {
    if (!holder.startsWith(`${this.processId}:`)) return false;
    return !this.#abandoned.has(holder);
  }

  giveBack(key: LockKey, owner: string): Promise<void> {
    // Asked anew at every attempt: callers may have come or gone since, and their place in the backend's queue depends on it.
    return this.#untold.tell({ key, owner }, () => (this.#queues.get(key)?.waiting ?? 0) > 0);
  }

  settled(waiter: Waiter): void {
    this.#waits.delete(waiter, waiter.request.waitTimeMs);
  }

  aborted(waiter: Waiter): void {
    if (waiter.queue.leave(waiter)) waiter.reject(waiter.request.signal!.reason);
  }

  idle(key: LockKey, queue: object): void {
    if (this.#queues.get(key) === queue) this.#queues.delete(key);
  }

  /** What was offered to this process while its callers left is given back, too; callers that came since learn of it when they ask. */
  async #giveBack(turn: TurnRef, more: boolean): Promise<void> {
    const { key } = turn;
    const { offered } = await this.backend.giveBack(turn, more);
    if (offered && !this.#queues.has(key))
      await this.backend.giveBack({ key, owner: offered }, false);
  }

  #queue(key: LockKey): KeyQueue {
    let queue = this.#queues.get(key);
    if (!queue) this.#queues.set(key, (queue = new KeyQueue(key, this)));
    return queue;
  }

  async #keep(
    { queue, grant }: { queue: KeyQueue; grant: Grant },
    forMs: number,
  ): Promise<ReleaseResult> {
    const { key, owner } = grant.turn;
    const until = now() + forMs;
    this.#abandoned.add(owner, until);
    // Sent before anybody here asks for the key again.
    const kept = this.backend.keep?.({ key, owner }, forMs);
    queue.abandon(grant);
    if (!kept) {
      this.#kept.in(forMs, () => this.giveBack(key, owner));
      return 'released';
    }
    try {
      return (await kept) ? 'released' : 'not-held';
    } catch (error) {
      void this.#untold.tell({ key, owner }, () => false, until);
      throw error;
    }
  }

  /** @returns whether the grant is honoured. */
  #renewed(grant: LockGrant, asked: HeldTurn, isHonoured: boolean, sentAt: number): boolean {
    const held = this.#held(grant);
    if (!held?.grant.turn.isFrom(asked.tokens)) return false; // given back while the answer was on its way
    if (isHonoured) held.grant.turn.prolong(asked.leaseTimeMs, sentAt);
    else held.queue.lose(held.grant, 'taken-over');
    return isHonoured;
  }

  #lookAt({ key, owner }: TurnRef): Promise<void> {
    const grant = this.#queues.get(key)?.grant;
    return lookAt(this, grant?.turn.owner === owner ? grant : null);
  }

  #held(grant: LockGrant): { queue: KeyQueue; grant: Grant } | null {
    if (!(grant instanceof Grant)) return null;
    const { queue } = grant.turn;
    return queue.host === this && queue.grant === grant ? { queue, grant } : null;
  }

  #wake(key: LockKey, offer: Offer | null): void {
    if (this.#queues.get(key)?.wake(offer)) return;
    // The one who waited has left: pass the wake-up on, or the key stays free (or kept for this process) while others sleep.
    void this.giveBack(key, offer?.owner ?? '');
  }

  #timedOut(waiter: Waiter): void {
    const { queue } = waiter;
    const { trouble } = queue;
    if (!queue.leave(waiter)) return;
    if (trouble === null) return waiter.resolve(null);
    waiter.reject(unavailable(this.traits.name, queue.key, trouble));
  }
}
