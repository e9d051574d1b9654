import { lockKey } from '../../src/distributed-lock/key/lock-key.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { RedisWorld } from '../contract/redis-world.js';
import { Managed } from '../lock/managed.js';
import { type OwnRedis, type RedisOptions, startRedis } from '../support/redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import type { RedisStoreOptions } from '../../src/distributed-lock/store/redis/index.js';

type StoreOptions = Partial<Omit<RedisStoreOptions, 'connection'>>;

/** A Redis to be broken, lock managers that reach it directly or by way of a proxy, and what they leave on it. */
export class BrokenRedis {
  readonly #proxies: TcpProxy[] = [];

  private constructor(
    readonly redis: OwnRedis,
    readonly world: RedisWorld,
  ) {}

  static async start(store: StoreOptions = {}, options: RedisOptions = {}): Promise<BrokenRedis> {
    const redis = await startRedis(options);
    return new BrokenRedis(redis, new RedisWorld(redis.url, store));
  }

  /** As if it were a process of its own. */
  async direct(options: StoreOptions = {}): Promise<Managed> {
    return new Managed(await this.world.store(this.redis.url, options));
  }

  async proxied(options: StoreOptions = {}): Promise<{ locks: Managed; proxy: TcpProxy }> {
    const proxy = await TcpProxy.forUrl(this.redis.url);
    this.#proxies.push(proxy);
    const locks = new Managed(await this.world.store(proxy.url(this.redis.url), options));
    return { locks, proxy };
  }

  /** What should be gone when nobody holds or waits: all keys but the fences, which live on for a day. */
  async leftovers(key: string = ''): Promise<readonly string[]> {
    const keys = await this.world.keys(`*${key}*`);
    return keys.filter((it) => !it.endsWith(':fence'));
  }

  async untilNothingIsLeft(key: string = ''): Promise<void> {
    let left: readonly string[] = [];
    await until(
      'locks and queues to be gone',
      async () => (left = await this.leftovers(key)).length === 0,
    ).catch((cause: unknown) => {
      throw new Error(`left behind: ${left.join(', ')}`, { cause });
    });
  }

  /** The server has told one more process that the key is busy; a pushing one is in its queue. */
  async untilWaiting(key: string, wake: 'push' | 'poll' = 'push'): Promise<void> {
    const { waiting } = new RedisKeyspace('', this.world.namespace).of(lockKey(key));
    const looks = await this.calls('pttl');
    await until('a process to wait', async () =>
      wake === 'push'
        ? (await this.world.client.zcard(waiting)) > 0
        : (await this.calls('pttl')) > looks,
    );
  }

  /** How often the server has executed a command, inside scripts too. */
  async calls(command: string): Promise<number> {
    const stats = await this.world.client.info('commandstats');
    const match = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats);
    return Number(match?.[1] ?? 0);
  }

  /** How many connections the server has accepted in all. */
  async connections(): Promise<number> {
    const stats = await this.world.client.info('stats');
    return Number(/total_connections_received:(\d+)/.exec(stats)?.[1]);
  }

  async stop(): Promise<void> {
    await this.world.close();
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
    await this.redis.stop();
  }
}

/** Everybody takes the key `rounds` times. Fails when two are inside, or a token does not grow. */
export async function contend(
  all: readonly Managed[],
  key: string,
  rounds: number,
  lastToken: bigint | null = 0n,
): Promise<void> {
  let inside = 0;
  let last = lastToken ?? 0n;
  const work = async (locks: Managed) => {
    for (let round = 0; round < rounds; round += 1) {
      const hold = await locks.enter(key, { waitTimeMs: 10_000 });
      const token = hold.fencingToken ?? 0n;
      inside += 1;
      if (inside > 1) throw new Error('two holders at a time');
      if (token <= last) throw new Error(`token ${token} after ${last}`);
      last = token;
      await new Promise(setImmediate);
      inside -= 1;
      await hold.release();
    }
  };
  await Promise.all(all.map(work));
}
