import { describe, inject } from 'vitest';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { redlockStore } from '../../src/distributed-lock/store/redlock/index.js';
import { describeFaults } from './fault.contract.js';
import { redisFaults, redlockFaults } from './fault-backends.js';

describe.skipIf(!inject('canStartRedis'))('faults', () => {
  const has = ['network', 'server', 'processes', 'operator', 'set-up'] as const;
  const { traits } = redisStore({ connection: 'redis://unused' });
  describeFaults('redis, under faults', { traits, has, start: redisFaults });
  const redlock = redlockStore({ connections: ['redis://unused'] });
  describeFaults('redlock, under faults', { traits: redlock.traits, has, start: redlockFaults });
});
