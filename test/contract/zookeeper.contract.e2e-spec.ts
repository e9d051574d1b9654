import { describe, inject } from 'vitest';
import { zookeeperStore } from '../../src/distributed-lock/store/zookeeper/index.js';
import { describeLockStore } from './lock-store.contract.js';
import { ZooKeeperWorld } from './zookeeper-world.js';

const url = inject('zookeeperUrl');

describe.skipIf(url === null)('zookeeper', () => {
  for (const layout of ['mutex', 'read-write', 'semaphore-mutex'] as const) {
    const { traits } = zookeeperStore({ connectString: 'unused', layout });
    const open = async () => new ZooKeeperWorld(url!, { layout });
    describeLockStore(`zookeeper, layout: '${layout}'`, open, traits);
  }
});
