import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { Admission } from '../../src/distributed-lock/store/lock-store.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { luaSource } from '../../src/distributed-lock/store/redis-client/redis.script-loader.js';
import { freshKey } from '../contract/lock-store.contract.js';
import { failureOf, type Managed } from '../lock/managed.js';
import { until } from '../support/until.js';
import { BrokenRedis } from './broken-redis.js';

const AT_LEAST_MS = 1_500;
const BUSY = { code: 'LOCK_WAIT_TIMEOUT' } as const;

const LINE: readonly [string, Admission][] = [
  ['in its process', { mode: 'exclusive', fair: false }],
  ['in the line (fair)', { mode: 'exclusive', fair: true }],
  ['to share the key', { mode: 'shared', fair: false }],
];

/** The owner of the turn that a hold is a part of. */
const turnOf = ({ owner }: { readonly owner: string }): string =>
  owner.slice(0, owner.lastIndexOf('.'));

describe.skipIf(!inject('canStartRedis'))('a Redis that has no memory left (noeviction)', () => {
  let broken: BrokenRedis;
  let locks: Managed;
  let other: Managed;

  beforeAll(async () => {
    broken = await BrokenRedis.start({}, { args: ['--maxmemory-policy', 'noeviction'] });
    [locks, other] = [await broken.direct(), await broken.direct()];
  });
  afterAll(() => broken?.stop());

  const namesOf = (key: LockKey) => new RedisKeyspace('', broken.world.namespace).of(key);
  const places = (key: LockKey) =>
    broken.world.client.zrange(namesOf(key).waiting, 0, -1, 'WITHSCORES');

  async function during<T>(setting: string, value: string, work: () => Promise<T>): Promise<T> {
    await broken.world.client.config('SET', setting, value);
    try {
      return await work();
    } finally {
      await broken.world.client.config('SET', setting, '0');
    }
  }

  const whileFull = <T>(work: () => Promise<T>): Promise<T> => during('maxmemory', '1', work);

  describe.each(LINE)(
    'a key that is kept closed (holdAtLeast) while one waits %s',
    (_, waiting) => {
      it('stays closed for as long, to its own process, too; who waits keeps the place and is served', async () => {
        const { client } = broken.world;
        const key = freshKey('kept');
        const askedAt = performance.now();
        const bounds = { leaseTimeMs: 60_000, holdAtLeastMs: AT_LEAST_MS };
        const hold = await locks.enter(key, bounds);
        const entering = other.enter(key, { waitTimeMs: 20_000 }, undefined, waiting);
        await broken.untilWaiting(key);
        const queue = await places(key);
        await whileFull(async () => {
          expect(await hold.release()).toBe('released');
          const { lock } = namesOf(key);
          expect(await client.get(lock), 'control: there was no room').toContain(turnOf(hold));
          for (const process of [locks, other])
            expect(await failureOf(process.enter(key, { waitTimeMs: 0 }))).toMatchObject(BUSY);
          expect(await places(key)).toEqual(queue);
          const leftMs = await client.pttl(lock);
          expect(leftMs).toBeGreaterThan(0);
          expect(leftMs).toBeLessThanOrEqual(AT_LEAST_MS);
        });
        const next = await entering;
        // The server's clock counts whole milliseconds.
        expect(performance.now() - askedAt).toBeGreaterThanOrEqual(AT_LEAST_MS - 1);
        expect(await next.release()).toBe('released');
        await broken.untilNothingIsLeft(key);
      });
    },
  );

  it('control: the same release, made carelessly, fails, and leaves the key to its lease', async () => {
    const { client } = broken.world;
    const folder = new URL('../../src/distributed-lock/store/redis/scripts/', import.meta.url);
    const lua = `${luaSource(folder, 'shared')}\n${luaSource(folder, 'keep')}`;
    const careless = lua.replace(/^if redis\.pcall\('SET', (.*)\)\.err then .* end$/m, "redis.call('SET', $1)"); // prettier-ignore
    expect(careless).not.toBe(lua);
    const key = freshKey('careless');
    const hold = await locks.enter(key, { leaseTimeMs: 60_000 });
    const { lock, waiting } = namesOf(key);
    const args = [turnOf(hold), 1_000, '', '', key, '1'];
    await whileFull(async () => {
      await expect(client.eval(careless, 2, lock, waiting, ...args)).rejects.toThrow(/OOM/);
      expect(await client.pttl(lock)).toBeGreaterThan(50_000);
      expect(await client.eval(lua, 2, lock, waiting, ...args)).toBe(1);
      expect(await client.pttl(lock)).toBeLessThanOrEqual(1_000);
    });
    await hold.release();
  });

  it('a release that keeps the key closed and is refused is told again; meanwhile the lease keeps it closed', async () => {
    const { client } = broken.world;
    const key = freshKey('refused');
    const { lock } = namesOf(key);
    const askedAt = performance.now();
    const hold = await locks.enter(key, { leaseTimeMs: 60_000, holdAtLeastMs: AT_LEAST_MS });
    await during('min-replicas-to-write', '1', async () => {
      await expect(hold.release()).rejects.toBeInstanceOf(LockStoreUnavailableError);
      expect(await client.get(lock)).toContain(turnOf(hold));
      expect(await client.pttl(lock), 'nothing changed').toBeGreaterThan(50_000);
    });
    await until('it to be told', async () => (await client.get(lock)) === 'k:');
    expect(await client.pttl(lock)).toBeLessThanOrEqual(AT_LEAST_MS);
    const next = await other.enter(key, { waitTimeMs: 20_000 });
    expect(performance.now() - askedAt).toBeGreaterThanOrEqual(AT_LEAST_MS - 1);
    expect(await next.release()).toBe('released');
  });

  it('… the same of a fair hold, whose lease is over before the key may be free', async () => {
    const key = freshKey('refused-fair');
    const fair = { mode: 'exclusive', fair: true } as const;
    const times = { leaseTimeMs: AT_LEAST_MS, holdAtLeastMs: 2 * AT_LEAST_MS };
    const askedAt = performance.now();
    const hold = await locks.enter(key, times, undefined, fair);
    await during('min-replicas-to-write', '1', () =>
      expect(hold.release()).rejects.toBeInstanceOf(LockStoreUnavailableError),
    );
    const next = await other.enter(key, { waitTimeMs: 20_000 }, undefined, fair);
    expect(performance.now() - askedAt).toBeGreaterThanOrEqual(2 * AT_LEAST_MS - 1);
    expect(await next.release()).toBe('released');
    await broken.untilNothingIsLeft(key);
  });

  it.each([
    ['a turn of its process', { mode: 'exclusive', fair: false }],
    ['fair', { mode: 'exclusive', fair: true }],
    ['shared', { mode: 'shared', fair: false }],
    ['a permit', { mode: 'permit', permits: 2, fair: false }],
  ] as const)('a hold that is %s is renewed and released', async (_, admission) => {
    const key = freshKey('renewed');
    const hold = await locks.enter(key, { leaseTimeMs: 3_000 }, undefined, admission);
    await whileFull(async () => {
      const refused = await failureOf(other.enter(freshKey(), { waitTimeMs: 0 }));
      expect(
        (refused as LockStoreUnavailableError).detail,
        'control: nobody else gets one',
      ).toMatch(/OOM/);
      await hold.renew('20s');
      expect(await broken.world.client.pttl(namesOf(key).lock)).toBeGreaterThan(10_000);
      expect(await hold.release()).toBe('released');
    });
    await broken.untilNothingIsLeft(key);
  });
});
