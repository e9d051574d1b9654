import { now } from '../distributed-lock.clock.js';
import type { LossReason } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { HeldPlace, LinePlace } from './line-backend.js';
import type { LockGrant } from './lock-store.js';
import { usableLease } from './turn.js';
import type { TurnSession } from './turn-backend.js';

/** A caller's own possession of a key, alone or beside others. */
export class LineGrant implements LockGrant {
  onLost: ((reason: LossReason) => void) | null = null;
  #validUntil: number;

  constructor(
    readonly place: LinePlace,
    readonly fencingToken: bigint | null,
    /** The longest that was confirmed. */
    public leaseTimeMs: number,
    sentAt: number,
    /** What carries the hold, where that is not a lease. */
    readonly session: TurnSession | null = null,
  ) {
    this.#validUntil = sentAt + usableLease(leaseTimeMs);
  }

  get key(): LockKey {
    return this.place.key;
  }

  get owner(): string {
    return this.place.owner;
  }

  get validUntil(): number {
    return this.session?.validUntil ?? this.#validUntil;
  }

  get isOver(): boolean {
    return now() >= this.validUntil;
  }

  get held(): HeldPlace {
    return { place: this.place, token: this.fencingToken, leaseTimeMs: this.leaseTimeMs };
  }

  /** A confirmed renewal that was sent at `sentAt`. Never shortens. */
  prolong(leaseTimeMs: number, sentAt: number): void {
    const validUntil = sentAt + usableLease(leaseTimeMs);
    if (validUntil <= this.#validUntil) return;
    this.#validUntil = validUntil;
    this.leaseTimeMs = leaseTimeMs;
  }
}
