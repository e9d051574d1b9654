import type { LockKey } from '../key/lock-key.js';
import type { HoldPart, ManagedHold } from './managed-hold.js';

/** Several keys, held together. Acquired in sorted order, released in the opposite one; lost as soon as one of them is. */
export class HoldGroup implements ManagedHold {
  #lost: AbortSignal | null = null;

  constructor(private readonly parts: readonly [HoldPart, ...HoldPart[]]) {}

  get key(): LockKey {
    return this.parts[0].key;
  }

  get keys(): readonly LockKey[] {
    return this.parts.map((part) => part.key);
  }

  get owner(): string {
    return this.parts[0].owner;
  }

  get fencingToken(): bigint | null {
    return this.parts[0].fencingToken;
  }

  get fencingTokens(): ReadonlyMap<LockKey, bigint | null> {
    return new Map(this.parts.map((part) => [part.key, part.fencingToken]));
  }

  get deadline(): number {
    return Math.min(...this.parts.map((part) => part.deadline));
  }

  get renews(): boolean {
    return this.parts.every((part) => part.renews);
  }

  get lost(): AbortSignal {
    this.#lost ??= AbortSignal.any(this.parts.map((part) => part.lost));
    return this.#lost;
  }

  isHeld(): boolean {
    return this.parts.every((part) => part.isHeld());
  }

  assertHeld(): void {
    for (const part of this.parts) part.assertHeld();
  }

  assertNotLost(): void {
    for (const part of this.parts) part.assertNotLost();
  }

  async renew(leaseTime?: number | string): Promise<void> {
    await Promise.all(this.parts.map((part) => part.renew(leaseTime)));
  }

  async release(): Promise<'released' | 'not-held'> {
    const results = await Promise.allSettled(this.parts.toReversed().map((part) => part.release()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return results.every((result) => result.status === 'fulfilled' && result.value === 'released')
      ? 'released'
      : 'not-held';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async end(): Promise<void> {
    await Promise.all(this.parts.toReversed().map((part) => part.end()));
  }

  abandon(): void {
    for (const part of this.parts) part.abandon();
  }

  part(key: LockKey): HoldPart | undefined {
    return this.parts.find((part) => part.key === key);
  }
}
