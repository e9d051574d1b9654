import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { MemoryWorld } from '../../src/distributed-lock/store/memory/memory.world.js';
import { memoryStoreIn } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores that share their locks, as if each were a process of its own. */
export function memoryStores(): StoreWorld {
  const world = new MemoryWorld();
  const stores: LockStore[] = [];
  return {
    namespace: 'contract',
    async store() {
      const store = memoryStoreIn(world);
      await store.open('contract', 1_000);
      stores.push(store);
      return store;
    },
    async close() {
      await Promise.all(stores.map((store) => store.close()));
    },
  };
}
