import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import { lockKey, type LockKey } from '../../key/lock-key.js';
import type { AcquireRequest, LockGrant, LockStore, StoreTraits } from '../../store/lock-store.js';
import type { StoreWorld } from './store-world.js';

/** One promise of the store contract, and how to find out whether a store keeps it. */
export interface Clause {
  /** Which of the things that are asked of every store; `docs/writing-a-store.md` lists them by number. */
  readonly item: number;
  /** In words; no two clauses have the same. */
  readonly promise: string;
  /** Only for stores with these traits (of `offers`: with all of these); a difference between stores is declared, never skipped by hand. */
  readonly onlyFor?: Partial<StoreTraits>;
  /** Not for stores with any of these traits. */
  readonly exceptFor?: Partial<Omit<StoreTraits, 'offers'>>;
  /** Rejects with what it found, an `AssertionError` as a rule. Does not close the world, and may hang on a store that does. */
  check(world: StoreWorld, traits: StoreTraits): Promise<void>;
}

const LEASE_MS = 10_000;

export const freshKey = (name = 'key'): LockKey => lockKey(`${name}:${randomUUID()}`);

export function request(key: LockKey, options: Partial<AcquireRequest> = {}): AcquireRequest {
  return { key, leaseTimeMs: LEASE_MS, waitTimeMs: 0, ...options };
}

export async function take(
  store: LockStore,
  key: LockKey,
  options: Partial<AcquireRequest> = {},
): Promise<LockGrant> {
  const grant = await store.acquire(request(key, { waitTimeMs: 5_000, ...options }));
  if (!grant) throw new Error(`"${key}" was not granted`);
  return grant;
}

export const openStores = (world: StoreWorld, count: number): Promise<LockStore[]> =>
  Promise.all(Array.from({ length: count }, () => world.store()));

export const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits for the condition, for `ms` at most. */
export async function untilOr(ms: number, condition: () => boolean): Promise<void> {
  const end = now() + ms;
  while (!condition() && now() < end) await pause(1);
}
