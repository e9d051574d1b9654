import type { LockKey } from '../key/lock-key.js';
import type { Admission } from '../store/lock-store.js';
import { EntryQueue } from './entry-queue.js';
import type { HoldPart } from './managed-hold.js';

/** A nested call's share of its caller's hold: the same lock, the same token; only the outermost call releases it. */
export class JoinedHold implements HoldPart {
  readonly entries = new EntryQueue();
  #left = false;

  constructor(private readonly outer: HoldPart) {}

  get key(): LockKey {
    return this.outer.key;
  }

  get keys(): readonly LockKey[] {
    return this.outer.keys;
  }

  get mode(): Admission['mode'] {
    return this.outer.mode;
  }

  get owner(): string {
    return this.outer.owner;
  }

  get fencingToken(): bigint | null {
    return this.outer.fencingToken;
  }

  get fencingTokens(): ReadonlyMap<LockKey, bigint | null> {
    return this.outer.fencingTokens;
  }

  get deadline(): number {
    return this.outer.deadline;
  }

  get renews(): boolean {
    return this.outer.renews;
  }

  get lost(): AbortSignal {
    return this.outer.lost;
  }

  get isOpen(): boolean {
    return !this.#left && this.outer.isHeld();
  }

  isHeld(): boolean {
    return this.outer.isHeld();
  }

  assertHeld(): void {
    this.outer.assertHeld();
  }

  assertNotLost(): void {
    this.outer.assertNotLost();
  }

  renew(leaseTime?: number | string): Promise<void> {
    return this.outer.renew(leaseTime);
  }

  /** Leaves the hold to the outer call. */
  async release(): Promise<'released' | 'not-held'> {
    if (this.#left) return 'not-held';
    this.#left = true;
    // Nested calls of this one may still be inside; the next sibling waits for them too.
    void this.entries.whenIdle().then(() => this.outer.entries.leave());
    return this.outer.isHeld() ? 'released' : 'not-held';
  }

  async end(): Promise<void> {
    await this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** The outer call goes on with the hold, but must not release it either. */
  abandon(): void {
    this.abandonAtEnd();
    void this.release();
  }

  abandonAtEnd(): void {
    this.outer.abandonAtEnd();
  }

  part(key: LockKey): HoldPart | undefined {
    return key === this.key ? this : undefined;
  }
}
