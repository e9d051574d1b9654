import { memoryStore } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { describeLockStore } from './lock-store.contract.js';
import { memoryStores } from './memory-world.js';

describeLockStore('memory', async () => memoryStores(), memoryStore().traits);
