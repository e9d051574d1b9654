/** Stores by name, for processes of their own without Nest. */
import { memoryStore } from 'nestjs-distributed-lock';

const FACTORIES = {
  memory: async () => memoryStore,
  redis: async () => (await import('nestjs-distributed-lock/redis')).redisStore,
  'redis-cluster': async () => {
    const { redisStore } = await import('nestjs-distributed-lock/redis');
    const { Cluster } = await import('ioredis');
    return ({ nodes, ...options }) =>
      redisStore({ connection: new Cluster(nodes, { lazyConnect: true }), ...options });
  },
  redlock: async () => (await import('nestjs-distributed-lock/redlock')).redlockStore,
  zookeeper: async () => (await import('nestjs-distributed-lock/zookeeper')).zookeeperStore,
  postgres: async () => (await import('nestjs-distributed-lock/postgres')).postgresStore,
  mysql: async () => (await import('nestjs-distributed-lock/mysql')).mysqlStore,
  table: async () => (await import('nestjs-distributed-lock/table')).tableStore,
};

/** @returns the store, opened. */
export async function openStore({ kind, options, namespace }) {
  const store = (await FACTORIES[kind]())(options);
  await store.open(namespace, 10_000);
  return store;
}
