import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  redisStore,
  type RedisStoreOptions,
} from '../../src/distributed-lock/store/redis/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { RedisWorld } from '../contract/redis-world.js';
import { type OwnRedis, startRedis } from '../support/services.js';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';

describeWith('redis')('on a shared Redis', () => {
  let world: RedisWorld;
  beforeEach(() => {
    world = new RedisWorld(redisUrl());
  });
  afterEach(() => world.close());

  const nameOf = (key: string): string => `${world.namespace}:{${key}}:lock`;

  it('nobody starves: a store that waits is served although another asks again and again', async () => {
    const [greedy, patient] = [await world.store(), await world.store()];
    const key = freshKey();
    let served = 0;
    const stop = new AbortController();
    const worker = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        const grant = await take(greedy, key, { waitTimeMs: 30_000 });
        served += 1;
        await greedy.release(grant);
      }
    };
    const greed = Promise.all(Array.from({ length: 5 }, worker));
    await until('the greedy one to be busy', () => served > 50);
    for (let turn = 0; turn < 5; turn += 1) {
      const before = served;
      await patient.release(await take(patient, key, { waitTimeMs: 30_000 }));
      expect(served - before).toBeLessThan(2_000);
    }
    stop.abort();
    await greed;
  });

  const CALLERS = 40;

  /** How many callers of a process are served before another process, which waits since the first of them has the key. */
  async function servedBefore(bounds: Partial<RedisStoreOptions>): Promise<number> {
    const [keeping, other] = [await world.store(redisUrl(), bounds), await world.store()];
    const key = freshKey();
    const served: string[] = [];
    const turn = async (store: LockStore, name: string, grant: LockGrant): Promise<void> => {
      served.push(name);
      await store.release(grant);
    };
    const first = await take(keeping, key);
    const waiting = Array.from({ length: CALLERS - 1 }, () =>
      take(keeping, key, { waitTimeMs: 30_000 }).then((grant) => turn(keeping, 'same', grant)),
    );
    waiting.push(take(other, key, { waitTimeMs: 30_000 }).then((it) => turn(other, 'other', it)));
    await until('the other process to wait', async () => {
      return (await world.client.zcard(`${world.namespace}:{${key}}:wait`)) === 1;
    });
    await turn(keeping, 'same', first);
    await Promise.all(waiting);
    expect(served).toHaveLength(CALLERS + 1);
    return served.indexOf('other');
  }

  it('a process keeps a key for so many callers, or so long, while another one waits; not more', async () => {
    expect(await servedBefore({ turnGrants: 4, turnTime: '1m' })).toBe(4);
    expect(await servedBefore({ turnGrants: 1_000, turnTime: 0 })).toBe(1);
    expect(await servedBefore({ turnTime: '1m' }), 'by default').toBe(32);
  });

  it('control: without those bounds it keeps it for all its callers', async () => {
    expect(await servedBefore({ turnGrants: 1_000, turnTime: '1m' })).toBe(CALLERS);
  });

  it('a call that is under way when its store closes leaves nothing held', async () => {
    const [closing, other] = [await world.store(), await world.store()];
    const key = freshKey();
    const call = closing.acquire(request(key, { waitTimeMs: 5_000, leaseTimeMs: 60_000 }));
    const answer = call.catch((error: unknown) => error);
    await closing.close();
    expect(await answer).toMatchObject({ code: 'LOCK_CLOSED' });
    expect(await other.acquire(request(key))).not.toBeNull();
  });

  it('a foreign text in the key is busy; one without an end is looked at now and then', async () => {
    const store = await world.store(redisUrl(), { safetyLook: '50ms' });
    const key = freshKey();
    await world.client.set(nameOf(key), 'no colon in here');
    const counted = async (): Promise<number> =>
      Number(/cmdstat_evalsha:calls=(\d+)/.exec(await world.client.info('commandstats'))?.[1] ?? 0);
    const before = await counted();
    expect(await store.acquire(request(key, { waitTimeMs: 500 }))).toBeNull();
    // Other specs use this server, too: an upper bound that spinning would exceed by far.
    expect((await counted()) - before).toBeLessThan(2_000);
    expect(await world.client.get(nameOf(key))).toBe('no colon in here');
    await world.client.del(nameOf(key));
    await store.release(await take(store, key));
  });

  it('a foreign type in the key is a wrong set-up, at once', async () => {
    const store = await world.store();
    const key = freshKey();
    await world.client.rpush(nameOf(key), 'a list');
    await expect(store.acquire(request(key, { waitTimeMs: 60_000 }))).rejects.toBeInstanceOf(
      LockConfigurationError,
    );
    expect(await world.client.lrange(nameOf(key), 0, -1)).toEqual(['a list']);
  });

  it('keys start with the keyPrefix of the client and live in its db; the client is left alone', async () => {
    const prefix = `app-${randomUUID().slice(0, 8)}:`;
    const client = new Redis(redisUrl(), { keyPrefix: prefix, db: 3, enableOfflineQueue: true });
    const before = JSON.stringify(client.options);
    const store = redisStore({ connection: client });
    await store.open('ns', 5_000);
    const key = freshKey();
    const grant = await take(store, key);
    // ioredis adds the prefix to keys of plain commands.
    expect(await client.exists(`ns:{${key}}:lock`)).toBe(1);
    expect(await world.client.exists(`${prefix}ns:{${key}}:lock`), 'not in db 0').toBe(0);
    await store.release(grant);
    await client.del('ns:fence');
    await store.close();
    expect(await client.ping(), 'still open').toBe('PONG');
    expect(JSON.stringify(client.options)).toBe(before);
    expect(Object.keys(client)).not.toContain('lockAcquire');
    client.disconnect();
  });
});

describeWith('ownRedis')('on a Redis that loses its data', () => {
  let own: OwnRedis;
  let admin: Redis;
  beforeAll(async () => {
    own = await startRedis();
    admin = new Redis(own.url);
  });
  afterAll(async () => {
    admin.disconnect();
    await own.stop();
  });

  it('tokens grow over FLUSHALL, to the process that lost its lock and to a new one', async () => {
    const world = new RedisWorld(own.url);
    const [one, two] = [await world.store(), await world.store()];
    const key = freshKey();
    const stores = [one, two];
    const grants: LockGrant[] = [];
    const lost: boolean[] = [];
    for (let n = 0; n < 20; n += 1) {
      const store = stores[n % 2]!;
      const grant = grants[n - 2];
      if (grant) lost.push(...(await store.renew([{ grant, leaseTimeMs: 1_000 }])));
      grants.push(await take(store, key));
      await admin.flushall();
    }
    expect(lost).toEqual(Array.from({ length: 18 }, () => false));
    const tokens = grants.map((grant) => grant.fencingToken!);
    expect(tokens).toEqual([...tokens].sort((a, b) => (a < b ? -1 : 1)));
    // Each is the first of a thousand: not even the blocks overlap.
    for (const [n, token] of tokens.slice(1).entries())
      expect(token - tokens[n]!).toBeGreaterThanOrEqual(1_000n);
    await world.close();
  });

  it('SCRIPT FLUSH goes unnoticed', async () => {
    const world = new RedisWorld(own.url);
    const store = await world.store();
    const key = freshKey();
    for (let n = 0; n < 5; n += 1) {
      const grant = await take(store, key);
      await admin.script('FLUSH');
      expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([true]);
      await admin.script('FLUSH');
      expect(await store.release(grant)).toBe('released');
      await admin.script('FLUSH');
    }
    await world.close();
  });
});

describeWith('ownRedis')('on a Redis whose memory is full', () => {
  let own: OwnRedis;
  let admin: Redis;
  beforeAll(async () => {
    own = await startRedis();
    admin = new Redis(own.url);
  });
  afterAll(async () => {
    admin.disconnect();
    await own.stop();
  });

  it('a held key is busy, a free one cannot be had, and what is held is renewed and released', async () => {
    const world = new RedisWorld(own.url);
    const [holder, other] = [await world.store(), await world.store()];
    const [held, free] = [freshKey('held'), freshKey('free')];
    const grant = await take(holder, held);
    await admin.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction');

    await expect(admin.set('anything', 'else')).rejects.toThrow(/^OOM/);
    expect(await other.acquire(request(held, { waitTimeMs: 200 })), 'busy, not broken').toBeNull();
    await expect(other.acquire(request(free))).rejects.toMatchObject({
      code: 'LOCK_STORE_UNAVAILABLE',
      detail: expect.stringMatching(/^OOM/) as string,
    });
    expect(await holder.renew([{ grant, leaseTimeMs: 60_000 }])).toEqual([true]);
    expect(await world.client.pttl(`${world.namespace}:{${held}}:lock`)).toBeGreaterThan(50_000);
    expect(await holder.release(grant)).toBe('released');
    expect(await world.keys(`{${held}}:lock`)).toEqual([]);
    const late = await world.store(); // boots, to serve when there is room again

    await admin.config('SET', 'maxmemory', '0');
    await late.release(await take(late, free));
    await world.close();
  });
});

/**
 * What a user of Redis needs who may do nothing else. `<prefix>` is `keyPrefix` and namespace, such as `app:locks`.
 *
 * With `db` other than 0 also `+select`. Names of connections (`CLIENT SETNAME`) are not needed. Without `+info` ioredis
 * warns on the console at each connection.
 */
const ACL_KEYS = (prefix: string): string[] => [`~${prefix}:*`];
const ACL_PUSH = (prefix: string): string[] => [
  ...ACL_KEYS(prefix),
  `&${prefix}:inbox:*`,
  '+subscribe',
  '+publish',
  '+zpopmin',
];
const ACL_LINE = ['+zadd', '+zrem', '+zscore', '+zrange', '+zcard', '+zremrangebyscore'];
const ACL_LOCK = ['+eval', '+evalsha', '+get', '+set', '+del', '+pttl', '+pexpire', '+time'];
const ACL_ALWAYS = [...ACL_LOCK, ...ACL_LINE];
const ACL_CONNECTION = ['+ping', '+info'];

describeWith('ownRedis')('with an ACL user', () => {
  let own: OwnRedis;
  let admin: Redis;
  beforeAll(async () => {
    own = await startRedis();
    admin = new Redis(own.url);
  });
  afterAll(async () => {
    admin.disconnect();
    await own.stop();
  });

  /** A way to the server as a user with these rules. */
  async function connectionOf(rules: readonly string[]): Promise<string> {
    const user = `u${randomUUID().slice(0, 8)}`;
    await admin.call('ACL', 'SETUSER', user, 'reset', 'resetchannels', 'on', '>secret', ...rules);
    const url = new URL(own.url);
    [url.username, url.password] = [user, 'secret'];
    return url.href;
  }

  const rulesOf = { push: ACL_PUSH('locks'), poll: ACL_KEYS('locks') };

  for (const wake of ['push', 'poll'] as const) {
    describe(`wake: '${wake}'`, () => {
      const rules = [...rulesOf[wake], ...ACL_ALWAYS, ...ACL_CONNECTION];

      /** Readers and a writer, in the line. */
      async function readAndWrite(one: LockStore, two: LockStore): Promise<void> {
        const key = freshKey();
        const admission = { mode: 'shared', fair: false } as const;
        const reader = await take(one, key, { admission });
        const writer = take(two, key, { admission: { mode: 'exclusive', fair: true } });
        expect(await one.renew([{ grant: reader, leaseTimeMs: 60_000 }])).toEqual([true]);
        expect(await one.release(reader)).toBe('released');
        expect(await two.release(await writer)).toBe('released');
      }

      async function open(allowed: readonly string[]): Promise<[LockStore, LockStore]> {
        const connection = await connectionOf(allowed);
        const stores: [LockStore, LockStore] = [
          redisStore({ connection, wake }),
          redisStore({ connection, wake }),
        ];
        try {
          for (const store of stores) await store.open('locks', 5_000);
        } catch (error) {
          for (const store of stores) await store.close();
          throw error;
        }
        return stores;
      }

      it('the documented permissions are enough', async () => {
        const [one, two] = await open(rules);
        const key = freshKey();
        const grant = await take(one, key);
        const waiting = take(two, key, { leaseTimeMs: 60_000 });
        expect(await two.acquire(request(key))).toBeNull();
        expect(await one.renew([{ grant, leaseTimeMs: 60_000 }])).toEqual([true]);
        expect(await one.release(grant)).toBe('released');
        expect(await two.release(await waiting)).toBe('released');
        await readAndWrite(one, two);
        for (const store of [one, two]) await store.close();
      });

      it.each(rules.filter((rule) => !ACL_CONNECTION.includes(rule)))(
        'each is needed: without %s the store does not open, and says why',
        async (missing) => {
          const opening = open(rules.filter((rule) => rule !== missing));
          await expect(opening).rejects.toBeInstanceOf(LockConfigurationError);
          const name = /^[~&]/.test(missing) ? /key|channel/i : new RegExp(missing.slice(1), 'i');
          await expect(opening).rejects.toThrow(name);
        },
      );
    });
  }

  it('a user with another prefix is refused', async () => {
    const rules = [...ACL_PUSH('others'), ...ACL_ALWAYS, ...ACL_CONNECTION];
    const store = redisStore({ connection: await connectionOf(rules) });
    await expect(store.open('locks', 5_000)).rejects.toBeInstanceOf(LockConfigurationError);
    await store.close();
  });

  it('control: a server that is not there is not a wrong set-up', async () => {
    const store = redisStore({ connection: 'redis://127.0.0.1:1' });
    await expect(store.open('locks', 300)).rejects.toBeInstanceOf(LockStoreUnavailableError);
    await store.close();
  });
});
