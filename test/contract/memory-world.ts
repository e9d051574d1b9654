import { MemoryWorld } from '../../src/distributed-lock/store/memory/memory.world.js';
import { memoryStoreIn } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import {
  type StoreWorld,
  storeWorld,
} from '../../src/distributed-lock/testing/contract/store-world.js';

/** Stores that share their locks, as if each were a process of its own. */
export function memoryStores(): StoreWorld {
  const world = new MemoryWorld();
  return storeWorld(() => memoryStoreIn(world));
}
