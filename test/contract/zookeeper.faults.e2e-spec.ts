import { describe, inject } from 'vitest';
import { zookeeperStore } from '../../src/distributed-lock/store/zookeeper/index.js';
import { describeFaults } from './fault.contract.js';
import { zookeeperFaults } from './fault-backends.js';

describe.skipIf(!inject('canStartZooKeeper'))('faults', () => {
  const { traits } = zookeeperStore({ connectString: 'unused' });
  const has = ['network', 'server', 'processes', 'operator', 'set-up'] as const;
  describeFaults('zookeeper, under faults', { traits, has, start: zookeeperFaults });
});
