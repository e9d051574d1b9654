import { now } from '../distributed-lock.clock.js';
import type { LossReason } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { KeyQueue } from './key-queue.js';
import type { LockGrant } from './lock-store.js';
import type { HeldTurn, Offer, TokenBlock, TurnBackend, TurnSession } from './turn-backend.js';

/**
 * What a lease of `leaseTimeMs` is worth to its holder when clocks drift: 1 % and 2 ms less.
 * (The allowance of the Redlock description, https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/)
 */
export function usableLease(leaseTimeMs: number): number {
  return leaseTimeMs - leaseTimeMs / 100 - 2;
}

/**
 * This process's possession of one key: the lock goes from caller to caller in memory, each with its own fencing token,
 * until the turn is passed on, given back or lost.
 */
export class Turn {
  #deadline: number;
  /** When it was asked for: the bound on its time is kept rather too early than too late. */
  #startedAt: number;
  #tokens: TokenBlock | null;
  /** Grants made since the backend was last asked. */
  #grants = 0;
  /** Grants made in all, for owner ids that are never reused. */
  #serial = 0;
  /** Of a turn that was begun on an offer and is not confirmed yet: how long it was kept for this process. Its callers start with less than the lease they asked for. */
  #keptMs = 0;
  leaseTimeMs: number;

  constructor(
    /** Whose callers it serves. */
    readonly queue: KeyQueue,
    readonly owner: string,
    leaseTimeMs: number,
    sentAt: number,
    tokens: TokenBlock | null,
    /** What carries the turn, where that is not a lease. */
    readonly session: TurnSession | null = null,
  ) {
    this.leaseTimeMs = leaseTimeMs;
    this.#startedAt = sentAt;
    this.#deadline = sentAt + usableLease(leaseTimeMs);
    this.#tokens = tokens;
  }

  /**
   * A turn that is begun on an offer.
   *
   * @param queuedAt when the command was sent that queued the process; the offer counts from then.
   * @param leaseTimeMs what it shall have once it is confirmed.
   */
  static offered(queue: KeyQueue, offer: Offer, queuedAt: number, leaseTimeMs: number): Turn {
    const { owner, tokens, keptMs } = offer;
    const turn = new Turn(queue, owner, keptMs, queuedAt, tokens);
    turn.leaseTimeMs = leaseTimeMs;
    turn.#startedAt = now();
    turn.#keptMs = keptMs;
    return turn;
  }

  get key(): LockKey {
    return this.queue.key;
  }

  /** Until when this process may believe in the turn. Counted from when the command was *sent*: a slow reply shortens it. */
  get deadline(): number {
    return this.session?.validUntil ?? this.#deadline;
  }

  get isOver(): boolean {
    return this.isOverAt(now());
  }

  /** {@link isOver}, for who has just read the clock. */
  isOverAt(at: number): boolean {
    return at >= this.deadline;
  }

  /** The backend has answered about the offer, or does not: from now on only a lease counts. */
  settle(): void {
    this.#keptMs = 0;
  }

  /** A confirmed renewal that was sent at `sentAt`. Never shortens. */
  prolong(leaseTimeMs: number, sentAt: number): void {
    const deadline = sentAt + usableLease(leaseTimeMs);
    if (deadline <= this.#deadline) return;
    this.#deadline = deadline;
    this.leaseTimeMs = leaseTimeMs;
  }

  /** Asks for a whole lease. @returns whether the backend gives it, and the answer came in time. */
  async renew(backend: Pick<TurnBackend, 'renew'>, leaseTimeMs: number): Promise<boolean> {
    const sentAt = now();
    const [held] = await backend.renew([this.ref(leaseTimeMs)]);
    if (held) this.prolong(leaseTimeMs, sentAt);
    return held === true && !this.isOver;
  }

  /** The backend said that nobody else waits: a full lease, fresh tokens, and the bounds count anew. */
  restart(leaseTimeMs: number, sentAt: number, tokens: TokenBlock | null): void {
    this.prolong(leaseTimeMs, sentAt);
    this.#tokens = tokens;
    this.#grants = 0;
    this.#startedAt = sentAt;
  }

  /** Whether the next local caller may have the lock before other processes are considered. */
  mayGoOn(maxGrants: number, maxTimeMs: number, at: number): boolean {
    const limit = this.#tokens ? Math.min(maxGrants, this.#tokens.size) : maxGrants;
    return this.#grants < limit && at - this.#startedAt < maxTimeMs;
  }

  /** Whether a caller that starts now has (nearly) the lease it asked for. */
  covers(leaseTimeMs: number, at: number): boolean {
    if (this.session) return this.deadline - at >= this.session.timeoutMs / 2;
    const left = this.#deadline - at;
    return left >= (this.#keptMs > 0 ? this.#keptMs / 2 : 0.9 * usableLease(leaseTimeMs));
  }

  grant(): Grant {
    this.#serial += 1;
    return new Grant(this, this.#serial, this.#tokens, this.#grants++);
  }

  /** The turn as the backend is asked about it. @param leaseTimeMs the lease it shall have. */
  ref(leaseTimeMs = this.leaseTimeMs): HeldTurn {
    return { key: this.key, owner: this.owner, tokens: this.#tokens, leaseTimeMs };
  }

  isFrom(tokens: TokenBlock | null): boolean {
    return this.#tokens === tokens;
  }
}

/** One caller's share of a turn. Its owner id and its token are made when they are asked for: most callers ask for neither. */
export class Grant implements LockGrant {
  onLost: ((reason: LossReason) => void) | null = null;

  constructor(
    readonly turn: Turn,
    private readonly serial: number,
    private readonly tokens: TokenBlock | null,
    /** Which token of the block. */
    private readonly nth: number,
  ) {}

  get owner(): string {
    return `${this.turn.owner}.${this.serial}`;
  }

  get fencingToken(): bigint | null {
    return this.tokens && this.tokens.first + BigInt(this.nth);
  }

  get key(): LockKey {
    return this.turn.key;
  }

  get validUntil(): number {
    return this.turn.deadline;
  }
}
