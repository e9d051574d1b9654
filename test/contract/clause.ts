import { randomUUID } from 'node:crypto';
import { lockKey, type LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type {
  AcquireRequest,
  LockGrant,
  LockStore,
  StoreTraits,
} from '../../src/distributed-lock/store/lock-store.js';

/** One backend, seen by several stores as if each were a process of its own. */
export interface StoreWorld {
  readonly namespace: string;
  /** A store on the same backend and namespace, opened. */
  store(): Promise<LockStore>;
  /** Resolves when so many calls wait for the one key in use. Where order over all stores is promised, to show it. */
  queued?(waiters: number): Promise<void>;
  close(): Promise<void>;
}

export interface Clause {
  /** Number in `conformance.ts`. */
  readonly item: number;
  readonly promise: string;
  /** Only for stores with these traits (of `offers`: with all of these); a difference between stores is declared, never skipped by hand. */
  readonly onlyFor?: Partial<StoreTraits>;
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
