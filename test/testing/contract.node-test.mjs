// A store writer's test file for Node's own test runner, over the built package: `node contract.node-test.mjs [healthy | broken]`.
import { describe, it } from 'node:test';
import { runContract, storeWorld } from 'nestjs-distributed-lock/testing';
import { memoryStoreIn } from '../../dist/distributed-lock/store/memory/memory.lock-store.js';
import { MemoryWorld } from '../../dist/distributed-lock/store/memory/memory.world.js';

const isBroken = process.argv[2] === 'broken';

function storeIn(world) {
  const store = memoryStoreIn(world);
  const release = store.release.bind(store);
  if (isBroken) store.release = async (...grant) => (await release(...grant), 'released');
  return store;
}

runContract({
  name: 'memory',
  traits: memoryStoreIn(new MemoryWorld()).traits,
  open: () => {
    const world = new MemoryWorld();
    return storeWorld(() => storeIn(world));
  },
  describe,
  it,
});
