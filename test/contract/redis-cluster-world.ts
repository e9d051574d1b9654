import { randomUUID } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  redisStore,
  type RedisStoreOptions,
} from '../../src/distributed-lock/store/redis/index.js';
import type { OwnRedisCluster } from '../support/redis-cluster.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one Redis Cluster and one namespace of their own, as if each were a process. */
export class RedisClusterWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  /** For looking at the nodes, one each; not a store's. */
  readonly clients: readonly Redis[];
  readonly #stores: LockStore[] = [];
  readonly #connections: Cluster[] = [];

  constructor(
    readonly cluster: OwnRedisCluster,
    private readonly options: Omit<RedisStoreOptions, 'connection'> = {},
    private readonly connect = (nodes: OwnRedisCluster['startNodes']): Cluster =>
      new Cluster([...nodes], { lazyConnect: true }),
  ) {
    this.clients = cluster.nodes.map(({ url }) => new Redis(url));
    for (const client of this.clients) client.on('error', () => undefined);
  }

  async store(options: Partial<RedisStoreOptions> = {}): Promise<LockStore> {
    const connection = this.connect(this.cluster.startNodes);
    this.#connections.push(connection);
    const store = redisStore({ connection, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    for (const { status } of this.#connections)
      if (status !== 'wait') throw new Error(`a store used the client it was given: ${status}`);
    for (const client of this.clients) {
      const keys = await client.keys(`${this.namespace}:*`).catch(() => []);
      await Promise.all(keys.map((key) => client.del(key)));
      client.disconnect();
    }
  }
}
