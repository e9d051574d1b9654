import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  redisStore,
  type RedisStoreOptions,
} from '../../src/distributed-lock/store/redis/index.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one Redis and one namespace of their own, as if each were a process. Takes its keys away at the end. */
export class RedisWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  /** For looking at the server; not a store's. */
  readonly client: Redis;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly url: string,
    private readonly options: Omit<RedisStoreOptions, 'connection'> = {},
  ) {
    this.client = new Redis(url);
    // A fault test takes the server away; commands then fail, which the test sees.
    this.client.on('error', () => undefined);
  }

  /** @param url a way to the same server, such as a proxy. */
  async store(url = this.url, options: Partial<RedisStoreOptions> = {}): Promise<LockStore> {
    const store = redisStore({ connection: url, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  keys(pattern = '*'): Promise<string[]> {
    return this.client.keys(`${this.namespace}:${pattern}`);
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    const keys = await this.keys().catch(() => []);
    if (keys.length > 0) await this.client.del(keys);
    this.client.disconnect();
  }
}
