import { Redis as Ioredis6 } from 'ioredis6';
import { describe, expect, inject } from 'vitest';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import type { RedisConnection } from '../../src/distributed-lock/store/redis/index.js';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { describeLockStore } from './lock-store.contract.js';
import { RedisWorld } from './redis-world.js';

const url = inject('redisUrl');

/** The same through a client of ioredis 6, which speaks RESP3. TypeORM does not accept it in one install, so it has another name here. */
class Ioredis6World extends RedisWorld {
  readonly #clients: Ioredis6[] = [];

  override store(): Promise<LockStore> {
    const connection = new Ioredis6(this.url, { lazyConnect: true });
    this.#clients.push(connection);
    return super.store(this.url, { connection: connection as unknown as RedisConnection });
  }

  override async close(): Promise<void> {
    await super.close();
    // A store never opens or closes a client that it was given.
    for (const client of this.#clients) expect(client.status).toBe('wait');
  }
}

describe.skipIf(url === null)('redis', () => {
  for (const wake of ['push', 'poll'] as const) {
    const { traits } = redisStore({ connection: 'redis://unused', wake });
    describeLockStore(`redis, wake: '${wake}'`, async () => new RedisWorld(url!, { wake }), traits);
  }
  const { traits } = redisStore({ connection: 'redis://unused' });
  describeLockStore('redis, a client of ioredis 6', async () => new Ioredis6World(url!), traits);
});
