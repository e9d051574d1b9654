import { now } from '../distributed-lock.clock.js';
import { LockUpgradeError, LockWaitTimeoutError } from '../distributed-lock.errors.js';
import type { LockEvents } from '../distributed-lock.events.js';
import type { ResolvedTimes } from '../distributed-lock.options.js';
import type { LockKey } from '../key/lock-key.js';
import type { Admission, LockGrant, LockStore } from '../store/lock-store.js';
import { heldByCaller, insideHold } from './current-hold.js';
import { HoldGroup } from './hold-group.js';
import { JoinedHold } from './joined-hold.js';
import { LeaseRenewal } from './lease-renewal.js';
import { boundedLease, type HoldHost, LockHold } from './lock-hold.js';
import type { HoldPart, ManagedHold } from './managed-hold.js';
import { type Place, WaitLimits } from './wait-limits.js';

/** Acquires locks from one store and watches over those that are held. */
export class LockManager implements HoldHost {
  readonly renewal: LeaseRenewal;
  /** Holds that are not over; of a release, once the store has answered. */
  #open = 0;
  readonly #limits = new WaitLimits();
  readonly #places = new Map<LockHold, Place>();
  #whenEmpty: (() => void) | null = null;

  constructor(
    readonly store: LockStore,
    readonly events: LockEvents,
  ) {
    this.renewal = new LeaseRenewal(store);
  }

  /** Whether the calling chain holds all these keys, so that asking for them again joins it. */
  joins(keys: readonly LockKey[]): boolean {
    return keys.every((key) => heldByCaller(this, key) !== undefined);
  }

  /**
   * Acquires the keys in the order given, each within what is left of the wait time. Keys that the calling chain holds are joined.
   *
   * @throws {LockWaitTimeoutError} if one of them stayed busy; those acquired before are released.
   * @throws {LockUpgradeError} if the chain holds one of them together with others and cannot join that hold; nothing is acquired.
   * @throws {LockQueueFullError} if too many wait for one of them already; likewise.
   */
  enter(
    keys: readonly LockKey[],
    times: ResolvedTimes,
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<ManagedHold> {
    return keys.length === 1
      ? this.#enterOne(keys[0]!, times, times.waitTimeMs, signal, admission)
      : this.#enterAll(keys, times, signal, admission);
  }

  /** Runs `work` as the inside of the hold: it may enter the same keys again. */
  inside<T>(hold: ManagedHold, work: () => T): T {
    return insideHold(this, hold, work);
  }

  ended(hold: LockHold): void {
    this.#open -= 1;
    this.#places.get(hold)?.leave();
    this.#places.delete(hold);
    if (this.#open === 0) this.#whenEmpty?.();
  }

  /**
   * Turns waiters away, lets holders finish and their releases be answered for `graceMs`, ends what is still held after that (reason `closed`), and
   * closes the store.
   */
  async close(graceMs: number): Promise<void> {
    this.store.stop();
    if (this.#open > 0) await this.#emptyWithin(graceMs);
    for (const hold of this.renewal.holds()) hold.lose('closed');
    await this.store.close();
    this.renewal.end();
  }

  async #enterAll(
    keys: readonly LockKey[],
    times: ResolvedTimes,
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<ManagedHold> {
    for (const key of keys) refuseUpgrade(heldByCaller(this, key), admission);
    const deadline = now() + times.waitTimeMs;
    const parts: HoldPart[] = [];
    try {
      for (const key of keys)
        parts.push(await this.#enterOne(key, times, left(deadline), signal, admission));
    } catch (error) {
      await Promise.all(parts.toReversed().map((part) => part.end()));
      throw error;
    }
    const [first, ...others] = parts;
    if (!first) throw new RangeError('enter() needs at least one key');
    return new HoldGroup([first, ...others]);
  }

  #enterOne(
    key: LockKey,
    times: ResolvedTimes,
    leftMs: number,
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<HoldPart> {
    const outer = heldByCaller(this, key);
    return outer
      ? this.#join(outer, times, leftMs, signal, admission)
      : this.#acquire(key, times, leftMs, signal, admission);
  }

  async #join(
    outer: HoldPart,
    { waitTimeMs }: ResolvedTimes,
    leftMs: number,
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<HoldPart> {
    refuseUpgrade(outer, admission);
    const together = admission?.mode === 'shared';
    const entered = await outer.entries.enter(leftMs, together, signal, outer.lost);
    if (entered) return new JoinedHold(outer);
    throw new LockWaitTimeoutError(outer.key, waitTimeMs);
  }

  #acquire(
    key: LockKey,
    times: ResolvedTimes,
    leftMs: number,
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<HoldPart> {
    const { waitTimeMs } = times;
    const leaseTimeMs = boundedLease(times.leaseTimeMs, times.holdAtMostMs ?? Infinity);
    const askedAt = now();
    if (this.events.isFollowed) this.events.emit({ type: 'attempted', key, waitTimeMs });
    let place: Place | null;
    try {
      place = this.#place(key, times);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.store.acquire({ key, leaseTimeMs, waitTimeMs: leftMs, signal, admission }).then(
      (grant) => {
        if (grant) return this.#acquired(grant, leaseTimeMs, times, askedAt, place, admission);
        place?.leave();
        this.events.emit({ type: 'timed-out', key, waitedMs: now() - askedAt });
        throw new LockWaitTimeoutError(key, waitTimeMs);
      },
      (error: unknown) => {
        place?.leave();
        this.events.emit({ type: 'failed', key, waitedMs: now() - askedAt, error });
        throw error;
      },
    );
  }

  #acquired(
    grant: LockGrant,
    leaseTimeMs: number,
    times: ResolvedTimes,
    askedAt: number,
    place: Place | null,
    admission: Admission | undefined,
  ): LockHold {
    const hold = new LockHold(grant, leaseTimeMs, times.renew, this, admission?.mode, times);
    this.#open += 1;
    if (place) this.#places.set(hold, place.holds());
    this.renewal.add(hold);
    if (this.events.isFollowed) {
      const { key, owner, fencingToken } = grant;
      this.events.emit({ type: 'acquired', key, owner, fencingToken, waitedMs: now() - askedAt });
    }
    return hold;
  }

  /** @throws {LockQueueFullError} */
  #place(key: LockKey, { maxWaiters, waitTimeMs }: ResolvedTimes): Place | null {
    if (maxWaiters === undefined || waitTimeMs === 0) return null;
    try {
      return this.#limits.enter(key, maxWaiters);
    } catch (error) {
      this.events.emit({ type: 'failed', key, waitedMs: 0, error });
      throw error;
    }
  }

  #emptyWithin(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#whenEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/**
 * An exclusive hold is joined by all; the others only by their own kind. What else is asked for would wait for the chain's own
 * hold to end, for ever.
 */
function refuseUpgrade(outer: HoldPart | undefined, admission: Admission | undefined): void {
  const wanted = admission?.mode ?? 'exclusive';
  if (outer && outer.mode !== 'exclusive' && outer.mode !== wanted)
    throw new LockUpgradeError(outer.key, outer.mode, wanted);
}

/** What is left of a wait time, in whole milliseconds. */
function left(deadline: number): number {
  return Math.max(Math.ceil(deadline - now()), 0);
}
