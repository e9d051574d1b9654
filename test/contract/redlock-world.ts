import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  redlockStore,
  type RedlockStoreOptions,
} from '../../src/distributed-lock/store/redlock/index.js';
import type { OwnRedis } from '../support/redis.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on the same independent servers and one namespace of their own, as if each were a process. */
export class RedlockWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  /** For looking at the servers; not a store's. */
  readonly clients: readonly Redis[];
  readonly #stores: LockStore[] = [];

  constructor(
    readonly servers: readonly OwnRedis[],
    /** `nodeTimeout`: servers of a test machine may be busy; the default is tested by itself. */
    private readonly options: Partial<RedlockStoreOptions> = { nodeTimeout: '500ms' },
  ) {
    this.clients = servers.map(({ url }) => new Redis(url));
    // A fault test takes servers away; commands then fail, which the test sees.
    for (const client of this.clients) client.on('error', () => undefined);
  }

  /** @param urls ways to the same servers, such as proxies. */
  async store(
    options: Partial<RedlockStoreOptions> = {},
    urls: readonly string[] = this.servers.map(({ url }) => url),
  ): Promise<LockStore> {
    const store = redlockStore({ connections: urls, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  /** Name of the lock's key, the same on every server. */
  lockOf(key: LockKey): string {
    return new RedisKeyspace('', this.namespace).of(key).lock;
  }

  /** Owner id in the key, per server; `null` where it is free. */
  holders(key: LockKey): Promise<(string | null)[]> {
    return Promise.all(this.clients.map((client) => client.get(this.lockOf(key))));
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    for (const client of this.clients) {
      const keys = await client.keys(`${this.namespace}:*`).catch(() => []);
      if (keys.length > 0) await client.del(keys);
      client.disconnect();
    }
  }
}
