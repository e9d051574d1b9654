import { randomUUID } from 'node:crypto';
import { Line } from '../line.js';
import { LineLockStore } from '../line.lock-store.js';
import type { LockStore } from '../lock-store.js';
import { QueueingLockStore, type TurnBounds } from '../queueing.lock-store.js';
import { MemoryBackend } from './memory.backend.js';
import { MemoryLine } from './memory.line.js';
import { MemoryWorld } from './memory.world.js';

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
  const id = randomUUID();
  const turns = new QueueingLockStore(new MemoryBackend(world), id, bounds);
  return new LineLockStore(turns, new Line(new MemoryLine(world), turns.traits, `${id}.line`));
}
