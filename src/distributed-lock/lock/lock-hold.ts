import { setMaxListeners } from 'node:events';
import { now } from '../distributed-lock.clock.js';
import { durationMs } from '../distributed-lock.duration.js';
import { LockLostError, LockNotHeldError, type LossReason } from '../distributed-lock.errors.js';
import type { LockEvents } from '../distributed-lock.events.js';
import type { ResolvedTimes } from '../distributed-lock.options.js';
import type { LockKey } from '../key/lock-key.js';
import type { Admission, LockGrant, LockStore, ReleaseResult } from '../store/lock-store.js';
import { EntryQueue } from './entry-queue.js';
import type { LeaseRenewal } from './lease-renewal.js';
import type { HoldPart } from './managed-hold.js';

/** What a hold needs from its manager. */
export interface HoldHost {
  readonly store: LockStore;
  readonly events: LockEvents;
  readonly renewal: LeaseRenewal;
  /** The hold is over, for whatever reason; of a release, once the store has answered. */
  ended(hold: LockHold): void;
}

/** A lease for a hold that may last so long. Stores take off a little for drifting clocks, so it gets a little more: the bound ends the hold, not the lease. */
export function boundedLease(leaseTimeMs: number, atMostMs: number): number {
  return Math.min(leaseTimeMs, atMostMs * 1.02 + 3);
}

type Bounds = Pick<ResolvedTimes, 'holdAtLeastMs' | 'holdAtMostMs'>;

/** One key, held. Lost when its deadline passes, when the store says so, or when the application closes. */
export class LockHold implements HoldPart {
  /** Made on demand, as the controller below: most holds are never joined. */
  #entries: EntryQueue | null = null;
  /** When it began, on the scale of `distributed-lock.clock.ts`. */
  readonly heldSince = now();
  /** When it was last looked at whether it is held. */
  #lookedAt = this.heldSince;
  #state: 'held' | 'lost' | 'released' = 'held';
  #lossReason: LossReason = 'expired';
  /** A commit of unknown outcome was made inside: the key stays closed until the lease is over, whoever ends the hold. */
  #mustStayClosed = false;
  #lost: AbortController | null = null;
  /** End of the lease as a hard limit; `Infinity` while renewed. */
  #limit: number;
  /** Until when it may be held at most, and until when the key stays closed at least; `0`: as long as it is held. */
  readonly #atMost: number;
  readonly #atLeast: number;

  constructor(
    readonly grant: LockGrant,
    readonly leaseTimeMs: number,
    readonly renews: boolean,
    private readonly host: HoldHost,
    readonly mode: Admission['mode'] = 'exclusive',
    bounds: Bounds = {},
  ) {
    this.#limit = renews ? Infinity : this.heldSince + leaseTimeMs;
    this.#atMost = this.heldSince + (bounds.holdAtMostMs ?? Infinity);
    this.#atLeast = bounds.holdAtLeastMs ? this.heldSince + bounds.holdAtLeastMs : 0;
    grant.onLost = (reason) => this.lose(reason);
  }

  get key(): LockKey {
    return this.grant.key;
  }

  get keys(): readonly LockKey[] {
    return [this.key];
  }

  get owner(): string {
    return this.grant.owner;
  }

  get fencingToken(): bigint | null {
    return this.grant.fencingToken;
  }

  get fencingTokens(): ReadonlyMap<LockKey, bigint | null> {
    return new Map([[this.key, this.fencingToken]]);
  }

  /** When the hold is lost unless it is renewed, on the scale of `distributed-lock.clock.ts`. */
  get deadline(): number {
    return Math.min(this.grant.validUntil, this.#limit, this.#atMost);
  }

  get entries(): EntryQueue {
    return (this.#entries ??= new EntryQueue());
  }

  get lost(): AbortSignal {
    if (!this.#lost) {
      // Made on demand: most holds are never watched, and a controller costs more than the rest of the hold.
      this.#lost = new AbortController();
      // Every nested call that waits listens; Node would call more than ten a leak.
      setMaxListeners(0, this.#lost.signal);
      if (this.#state === 'lost') this.#lost.abort(this.#lossError());
    }
    return this.#lost.signal;
  }

  get isOpen(): boolean {
    return this.isHeld();
  }

  isHeld(): boolean {
    return this.isHeldAt(now());
  }

  /** {@link isHeld}, for who has just read the clock. It decides, not the timer: after a pause this may run before any timer does. */
  isHeldAt(at: number): boolean {
    if (this.#state !== 'held') return false;
    this.#lookedAt = at;
    if (at < this.deadline) return true;
    this.lose(at < this.#atMost ? 'expired' : 'held-too-long');
    return false;
  }

  assertHeld(): void {
    if (this.isHeld()) return;
    throw this.#state === 'lost' ? this.#lossError() : new LockNotHeldError(this.key);
  }

  assertNotLost(): void {
    if (!this.isHeld() && this.#state === 'lost') throw this.#lossError();
  }

  async renew(leaseTime?: number | string): Promise<void> {
    this.assertHeld();
    const leaseTimeMs = this.renewalMs(
      leaseTime === undefined ? this.leaseTimeMs : durationMs('leaseTime', leaseTime, 1),
    );
    const sentAt = now();
    const [honoured] = await this.host.store.renew([{ grant: this.grant, leaseTimeMs }]);
    if (this.#state === 'released') throw new LockNotHeldError(this.key);
    if (!honoured) this.lose('taken-over');
    else if (!this.renews) this.#limit = Math.max(this.#limit, sentAt + leaseTimeMs);
    this.assertHeld();
  }

  /** For how long a lease may be extended from now: none outlives `holdAtMost`. */
  renewalMs(leaseTimeMs = this.leaseTimeMs): number {
    if (this.#atMost === Infinity) return leaseTimeMs;
    return Math.max(boundedLease(leaseTimeMs, this.#atMost - now()), 1);
  }

  release(): Promise<ReleaseResult> {
    return this.#release(identity, rethrow);
  }

  /** @param answer what the caller gets: one promise serves both. */
  #release<T>(answer: (result: ReleaseResult) => T, failed: (error: unknown) => T): Promise<T> {
    if (!this.isHeld()) return Promise.resolve(answer('not-held'));
    if (this.#mustStayClosed) {
      this.abandon();
      return Promise.resolve(answer('not-held'));
    }
    this.#state = 'released';
    this.#unwatch();
    const heldMs = this.#lookedAt - this.heldSince;
    return this.#giveBack().then(
      (result) => {
        if (this.host.events.isFollowed) this.#tell({ type: 'released', heldMs, result });
        this.host.ended(this);
        return answer(result);
      },
      (error: unknown) => {
        this.#tell({ type: 'release-failed', heldMs, error });
        this.host.ended(this);
        return failed(error);
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  end(): Promise<void> {
    if (this.#entries && !this.#entries.isIdle) {
      // A nested call that nobody awaited still relies on the lock; the caller does not wait for it.
      void this.#entries.whenIdle().then(() => this.end());
      return Promise.resolve();
    }
    // A failure is reported as `release-failed`; the outcome of the call is the caller's answer.
    return this.#release(ignore, ignore);
  }

  abandon(): void {
    if (this.#state !== 'held') return;
    this.#state = 'released';
    this.#over();
    this.host.store.abandon(this.grant);
  }

  abandonAtEnd(): void {
    this.#mustStayClosed = true;
  }

  part(key: LockKey): HoldPart | undefined {
    return key === this.key ? this : undefined;
  }

  /** Ends the hold without a release by its holder. */
  lose(reason: LossReason): void {
    if (this.#state !== 'held') return;
    this.#state = 'lost';
    this.#lossReason = reason;
    this.#over();
    const heldMs = now() - this.heldSince;
    this.#tell({ type: 'lost', heldMs, reason });
    this.#lost?.abort(this.#lossError());
    // Frees what may be left of it, and lets local waiters go on. It is lost whatever the store answers.
    const freed = reason === 'closed' ? this.#giveBack() : this.host.store.release(this.grant);
    freed.catch(() => undefined);
  }

  #giveBack(): Promise<ReleaseResult> {
    const keepForMs = this.#atLeast === 0 ? 0 : this.#atLeast - now();
    const { store } = this.host;
    return keepForMs > 0 ? store.release(this.grant, keepForMs) : store.release(this.grant);
  }

  #tell(
    what:
      | { type: 'released'; heldMs: number; result: ReleaseResult }
      | { type: 'release-failed'; heldMs: number; error: unknown }
      | { type: 'lost'; heldMs: number; reason: LossReason },
  ): void {
    const { key, owner, fencingToken } = this;
    this.host.events.emit({ key, owner, fencingToken, ...what });
  }

  #over(): void {
    this.#unwatch();
    this.host.ended(this);
  }

  #unwatch(): void {
    this.grant.onLost = null;
    this.host.renewal.remove(this);
  }

  #lossError(): LockLostError {
    return new LockLostError(this.key, this.#lossReason);
  }
}

function ignore(): void {}

function identity<T>(value: T): T {
  return value;
}

function rethrow(error: unknown): never {
  throw error;
}
