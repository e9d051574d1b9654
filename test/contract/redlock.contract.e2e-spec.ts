import { afterAll, beforeAll, describe, inject } from 'vitest';
import { redlockStore } from '../../src/distributed-lock/store/redlock/index.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { describeLockStore } from './lock-store.contract.js';
import { RedlockWorld } from './redlock-world.js';

const { traits } = redlockStore({ connections: ['redis://unused'] });

describe.skipIf(!inject('canStartRedis'))('redlock', () => {
  let servers: readonly OwnRedis[];
  beforeAll(async () => {
    servers = await Promise.all(Array.from({ length: 5 }, () => startRedis()));
  });
  afterAll(() => Promise.all((servers ?? []).map((server) => server.stop())));

  for (const count of [1, 3, 5]) {
    const open = async () => new RedlockWorld(servers.slice(0, count));
    describeLockStore(`redlock, N = ${count}`, open, traits);
  }
});
