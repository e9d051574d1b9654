import { randomUUID } from 'node:crypto';
import type { LockStore } from '../lock-store.js';
import { QueueingLockStore, type TurnBounds } from '../queueing.lock-store.js';
import { MemoryBackend, MemoryWorld } from './memory.backend.js';

/**
 * Locks within one process, first come, first served. For tests and single-instance applications: **other processes do not see them**.
 *
 * A class instance of its own state: two `memoryStore()` exclude nobody from each other.
 */
export function memoryStore(): LockStore {
  return memoryStoreIn(new MemoryWorld());
}

/** A store that shares its locks with every other store of the same world; as if each were a process of its own. */
export function memoryStoreIn(world: MemoryWorld, bounds?: TurnBounds): LockStore {
  return new QueueingLockStore(new MemoryBackend(world), randomUUID(), bounds);
}
