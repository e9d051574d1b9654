import { Cluster } from 'ioredis';
import { Cluster as Cluster6 } from 'ioredis6';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { type OwnRedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { describeLockStore } from './lock-store.contract.js';
import { RedisClusterWorld } from './redis-cluster-world.js';

describe.skipIf(!inject('canStartRedis'))('redis cluster', () => {
  let cluster: OwnRedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster?.stop());

  for (const wake of ['push', 'poll'] as const) {
    const { traits } = redisStore({ connection: 'redis://unused', wake });
    const open = async () => new RedisClusterWorld(cluster, { wake });
    describeLockStore(`redis cluster, wake: '${wake}'`, open, traits);
  }

  const { traits } = redisStore({ connection: 'redis://unused' });
  const through6 = (nodes: OwnRedisCluster['startNodes']): Cluster =>
    new Cluster6([...nodes], { lazyConnect: true }) as unknown as Cluster;
  const open = async () => new RedisClusterWorld(cluster, {}, through6);
  describeLockStore('redis cluster, a client of ioredis 6', open, traits);
});
