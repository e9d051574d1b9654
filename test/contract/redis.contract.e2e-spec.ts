import { describe, inject } from 'vitest';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { describeLockStore } from './lock-store.contract.js';
import { RedisWorld } from './redis-world.js';

const url = inject('redisUrl');

describe.skipIf(url === null)('redis', () => {
  for (const wake of ['push', 'poll'] as const) {
    const { traits } = redisStore({ connection: 'redis://unused', wake });
    describeLockStore(`redis, wake: '${wake}'`, async () => new RedisWorld(url!, { wake }), traits);
  }
});
