import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { MemoryWorld } from '../../src/distributed-lock/store/memory/memory.world.js';
import {
  memoryStore,
  memoryStoreIn,
} from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { describeLockStore, type StoreWorld } from './lock-store.contract.js';

async function memoryWorld(): Promise<StoreWorld> {
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

describeLockStore('memory', memoryWorld, memoryStore().traits);
