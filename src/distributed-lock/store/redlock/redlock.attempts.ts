import { now } from '../../distributed-lock.clock.js';
import type { LockKey } from '../../key/lock-key.js';
import { usableLease } from '../turn.js';

/** One attempt to get a key, and the turn it became. */
export interface Attempt {
  readonly key: LockKey;
  /** Owner id on the nodes: a new one for each attempt, so that the release of a former one never ends this one. */
  readonly id: string;
  leaseMs: number;
  /** Until when a majority is certain to keep the key for it. */
  validUntil: number;
  /** Until when a node may keep it. */
  keptUntil: number;
}

const SWEEP_MS = 1_000;

/** What this process has on the nodes, by the owner id of the turn. */
export class Attempts {
  readonly #byOwner = new Map<string, Attempt>();
  #serial = 0;
  #sweptAt = 0;

  constructor(private readonly processId: string) {}

  begin(key: LockKey, owner: string, leaseMs: number): Attempt {
    this.#sweep();
    this.#serial += 1;
    const at = now();
    const attempt = {
      key,
      id: `${owner}#${this.#serial}`,
      leaseMs,
      validUntil: at + usableLease(leaseMs),
      keptUntil: Infinity,
    };
    this.#byOwner.set(owner, attempt);
    return attempt;
  }

  of(owner: string): Attempt | undefined {
    return this.#byOwner.get(owner);
  }

  /** A majority answered a command that was sent at `sentAt`. Never shortens. */
  confirm(attempt: Attempt, leaseMs: number, sentAt: number): void {
    attempt.validUntil = Math.max(attempt.validUntil, sentAt + usableLease(leaseMs));
    const kept = now() + leaseMs;
    attempt.keptUntil = attempt.keptUntil === Infinity ? kept : Math.max(attempt.keptUntil, kept);
    attempt.leaseMs = Math.max(attempt.leaseMs, leaseMs);
  }

  end(owner: string, attempt: Attempt): void {
    if (this.#byOwner.get(owner) === attempt) this.#byOwner.delete(owner);
  }

  /** Whether an id found on a node is one of this process that nobody uses any more: the trace of a command that came late. */
  isStray(id: string): boolean {
    if (!id.startsWith(`${this.processId}:`)) return false;
    return this.#byOwner.get(id.slice(0, id.lastIndexOf('#')))?.id !== id;
  }

  clear(): void {
    this.#byOwner.clear();
  }

  /** Forgets what was abandoned, once no node has it any more. */
  #sweep(): void {
    const at = now();
    if (at - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = at;
    for (const [owner, { keptUntil }] of this.#byOwner)
      if (keptUntil < at) this.#byOwner.delete(owner);
  }
}
