import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { redlockStore } from '../../src/distributed-lock/store/redlock/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { RedlockWorld } from '../contract/redlock-world.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const FREE = (count: number): null[] => Array.from({ length: count }, () => null);

describe.skipIf(!inject('canStartRedis'))('redlock', () => {
  let servers: readonly OwnRedis[];
  let world: RedlockWorld;
  const proxies: TcpProxy[] = [];
  const dead = new Set<OwnRedis>();

  beforeAll(async () => {
    servers = await Promise.all(Array.from({ length: 5 }, () => startRedis()));
  });
  afterEach(async () => {
    for (const server of servers) server.thaw();
    for (const server of dead) await server.restart();
    dead.clear();
    await world.close();
    await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  });
  afterAll(() => Promise.all((servers ?? []).map((server) => server.stop())));

  function ofSize(count: number, options?: ConstructorParameters<typeof RedlockWorld>[1]): void {
    world = new RedlockWorld(servers.slice(0, count), options);
  }

  async function proxied(
    options = {},
  ): Promise<{ store: LockStore; through: TcpProxy[]; urls: readonly string[] }> {
    const through = await Promise.all(world.servers.map(({ url }) => TcpProxy.forUrl(url)));
    proxies.push(...through);
    const urls = through.map((proxy, n) => proxy.url(world.servers[n]!.url));
    return { store: await world.store(options, urls), through, urls };
  }

  async function kill(server: OwnRedis): Promise<void> {
    dead.add(server);
    await server.kill();
  }

  const untilFree = (key: ReturnType<typeof freshKey>): Promise<void> =>
    until('the key to be free on every server', async () =>
      (await world.holders(key)).every((holder) => holder === null),
    );

  /** What can be wrong with a server, and how it ends. */
  const FAULTS: readonly [
    string,
    (n: number, through: readonly TcpProxy[]) => Promise<void>,
    (n: number, through: readonly TcpProxy[]) => Promise<void>,
  ][] = [
    ['killed', (n) => kill(servers[n]!), (n) => revive(servers[n]!)],
    ['frozen', async (n) => servers[n]!.freeze(), async (n) => servers[n]!.thaw()],
    ['unreachable', (n, through) => through[n]!.refuse(), (n, through) => through[n]!.pass()],
    ['slow', async (n, through) => through[n]!.delay(600), (n, through) => through[n]!.pass()],
    ['silent', async (n, through) => through[n]!.blackhole(), (n, through) => through[n]!.pass()],
  ];

  async function revive(server: OwnRedis): Promise<void> {
    dead.delete(server);
    await server.restart();
  }

  for (const [count, minority] of [
    [3, 1],
    [5, 2],
  ] as const) {
    describe(`with ${minority} of ${count} servers`, () => {
      beforeEach(() => ofSize(count, { nodeTimeout: '150ms' }));

      it.each(FAULTS)('%s, a lock works as ever', async (_name, breakIt, mendIt) => {
        const { store, through } = await proxied();
        const other = await world.store();
        const held = freshKey('held');
        const grant = await take(store, held, { leaseTimeMs: 60_000 });
        for (let n = 0; n < minority; n += 1) await breakIt(n, through);

        expect(await store.renew([{ grant, leaseTimeMs: 60_000 }])).toEqual([true]);
        expect(await other.acquire(request(held)), 'excluded').toBeNull();
        expect(await store.release(grant)).toBe('released');
        const key = freshKey();
        const again = await take(store, key, { waitTimeMs: 3_000, leaseTimeMs: 60_000 });
        expect(await other.acquire(request(key)), 'excluded').toBeNull();
        expect(await store.release(again)).toBe('released');

        for (let n = 0; n < minority; n += 1) await mendIt(n, through);
        await untilFree(held);
        await untilFree(key);
      });
    });
  }

  for (const [count, majority] of [
    [1, 1],
    [3, 2],
    [5, 3],
  ] as const) {
    describe(`with ${majority} of ${count} servers`, () => {
      beforeEach(() => ofSize(count, { nodeTimeout: '150ms' }));

      it.each(FAULTS)(
        '%s, nobody is let in, "broken" is said and not "busy", and nothing is left',
        async (_name, breakIt, mendIt) => {
          const { store, through, urls } = await proxied();
          const other = await world.store({}, urls);
          const held = freshKey('held');
          const grant = await take(store, held, { leaseTimeMs: 60_000 });
          for (let n = 0; n < majority; n += 1) await breakIt(n, through);

          const key = freshKey();
          const startedAt = now();
          const failures = [
            store.acquire(request(key, { leaseTimeMs: 60_000 })),
            other.acquire(request(held, { leaseTimeMs: 60_000 })),
            store.acquire(request(key, { waitTimeMs: 300, leaseTimeMs: 60_000 })),
            store.acquire(request(held.concat('2') as typeof held, { waitTimeMs: 100 })),
            store.renew([{ grant, leaseTimeMs: 60_000 }]),
          ].map((it) => it.then(String, (error: unknown) => error));
          for (const failure of await Promise.all(failures))
            expect(failure).toBeInstanceOf(LockStoreUnavailableError);
          await expect(store.release(grant)).rejects.toBeInstanceOf(LockStoreUnavailableError);
          expect(now() - startedAt).toBeLessThan(2_500);

          for (let n = 0; n < majority; n += 1) await mendIt(n, through);
          await untilFree(key);
          await untilFree(held);
          expect(await store.release(await take(store, key))).toBe('released');
        },
      );
    });
  }

  describe('at boot', () => {
    beforeEach(() => ofSize(3));
    const open = async (connections: readonly string[], timeoutMs = 3_000): Promise<unknown> => {
      const store = redlockStore({ connections });
      try {
        return await store.open('boot', timeoutMs).catch((error: unknown) => error);
      } finally {
        await store.close();
      }
    };
    const urlOf = (n: number): string => servers[n]!.url;

    it('two ways to one server are refused', async () => {
      const proxy = await TcpProxy.forUrl(urlOf(0));
      proxies.push(proxy);
      const error = await open([urlOf(0), urlOf(1), proxy.url(urlOf(0))]);
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(String(error)).toMatch(/are the same server \(run_id [0-9a-f]{40}\)/);
    });

    it('a replica is refused', async () => {
      const { port } = servers[0]!;
      const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(port)] });
      const error = await open([urlOf(0), urlOf(1), replica.url]);
      await replica.stop();
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(String(error)).toMatch(/is a replica; allowed: independent masters/);
    });

    it('missing permissions are named', async () => {
      const [admin] = world.clients;
      await admin!.call('ACL', 'SETUSER', 'poor', 'on', '>x', '~*', '+info', '+eval', '+evalsha');
      const poor = new URL(urlOf(0));
      poor.username = 'poor';
      poor.password = 'x';
      const error = await open([poor.href, urlOf(1), urlOf(2)]);
      await admin!.call('ACL', 'DELUSER', 'poor');
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(String(error)).toMatch(/permission|can't run/i);
    });

    it('the documented permissions are enough', async () => {
      const rules = ['on', '>x', '~ns:*', '+info', '+eval', '+evalsha', '+get', '+set', '+del'];
      for (const client of world.clients)
        await client.call('ACL', 'SETUSER', 'least', ...rules, '+pttl', '+pexpire');
      const connections = world.servers.map(({ url }) => url.replace('//', '//least:x@'));
      const store = redlockStore({ connections });
      await store.open('ns', 3_000);
      const grant = await take(store, freshKey());
      expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([true]);
      expect(await store.release(grant)).toBe('released');
      await store.close();
      for (const client of world.clients) await client.call('ACL', 'DELUSER', 'least');
    });

    it('a dead minority is no reason to stay down, and votes once it is back', async () => {
      await kill(servers[2]!);
      const store = await world.store();
      const key = freshKey();
      const grant = await take(store, key);
      await revive(servers[2]!);
      await until('the third server to have the key, by a renewal', async () => {
        expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([true]);
        return (await world.holders(key))[2] !== null;
      });
      expect(await store.release(grant)).toBe('released');
    });

    it('a dead majority is, and the store works once it is back', async () => {
      await Promise.all([kill(servers[1]!), kill(servers[2]!)]);
      const store = redlockStore({ connections: world.servers.map(({ url }) => url) });
      await expect(store.open(world.namespace, 300)).rejects.toThrow(
        'Lock store "redlock" is unavailable: 1 of 3 nodes connected within 300 ms',
      );
      await revive(servers[1]!);
      expect(await store.release(await take(store, freshKey()))).toBe('released');
      await store.close();
    });
  });

  describe('three servers', () => {
    beforeEach(() => ofSize(3));

    it('vote with one id per attempt, the same on each; a grant has no fencing token', async () => {
      const store = await world.store();
      const key = freshKey();
      const seen = new Set<string>();
      for (let n = 0; n < 3; n += 1) {
        const grant = await take(store, key);
        expect(grant.fencingToken).toBeNull();
        const holders = new Set(await world.holders(key));
        expect(holders.size).toBe(1);
        for (const holder of holders) seen.add(holder!);
        await store.release(grant);
        expect(await world.holders(key)).toEqual(FREE(3));
      }
      expect(seen.size).toBe(3);
    });

    it('are asked under a new owner id at each attempt: the release of a former one never ends a later one', async () => {
      const store = await world.store();
      const key = freshKey();
      for (const client of world.clients.slice(0, 2)) await client.set(world.lockOf(key), 'thief');
      const monitor = await world.clients[2]!.monitor();
      const ids: string[] = [];
      monitor.on('monitor', (_time: string, [command, name, id]: string[]) => {
        if (command?.toLowerCase() === 'set' && name === world.lockOf(key)) ids.push(id!);
      });
      const waiting = take(store, key, { waitTimeMs: 20_000 });
      await until('some attempts', () => ids.length >= 4);
      for (const client of world.clients.slice(0, 2)) await client.del(world.lockOf(key));
      await store.release(await waiting);
      monitor.disconnect();
      expect(new Set(ids).size).toBe(ids.length);
    });

    it('serve all of three clients that split the vote', async () => {
      // Each client is near to another server and far from the others: a vote each, again and again.
      const near = await Promise.all(
        [0, 1, 2].map(async (own) => {
          const { store, through } = await proxied();
          for (const [n, proxy] of through.entries()) if (n !== own) proxy.delay(25);
          return store;
        }),
      );
      const key = freshKey();
      const tries = await Promise.all(
        near.map((store) => store.acquire(request(key, { leaseTimeMs: 60_000 }))),
      );
      expect(tries, 'control: the vote is split').toEqual([null, null, null]);
      let inside = 0;
      const served = near.map(async (store) => {
        const grant = await take(store, key, { waitTimeMs: 15_000, leaseTimeMs: 60_000 });
        inside += 1;
        expect(inside).toBe(1);
        await new Promise(setImmediate);
        inside -= 1;
        return store.release(grant);
      });
      expect(await Promise.all(served)).toEqual(['released', 'released', 'released']);
      await untilFree(key);
    });

    it.each<['lost' | 'cut']>([['lost'], ['cut']])(
      'grant a lock whose answer is %s on one of them, and forget it when it is released',
      async (how) => {
        const { store, through } = await proxied({ nodeTimeout: '150ms' });
        const key = freshKey();
        const armed =
          how === 'lost' ? through[0]!.dropReplyTo(key) : through[0]!.cutBeforeReplyTo(key);
        const grant = await take(store, key, { waitTimeMs: 0, leaseTimeMs: 60_000 });
        await armed;
        await until(
          'control: the server to have executed it',
          async () => (await world.holders(key))[0] !== null,
        );
        expect(await store.release(grant)).toBe('released');
        await untilFree(key);
      },
    );

    it.each<['lost' | 'cut']>([['lost'], ['cut']])(
      'keep no orphan of an attempt that failed because an answer was %s',
      async (how) => {
        const { store, through } = await proxied({ nodeTimeout: '150ms' });
        await through[2]!.refuse();
        const key = freshKey();
        const armed =
          how === 'lost' ? through[0]!.dropReplyTo(key) : through[0]!.cutBeforeReplyTo(key);
        const sets = await setsOn(0);
        await expect(store.acquire(request(key, { leaseTimeMs: 60_000 }))).rejects.toThrow(
          LockStoreUnavailableError,
        );
        await armed;
        expect(await setsOn(0), 'control: it was executed').toBe(sets + 1);
        await untilFree(key);
      },
    );

    async function setsOn(n: number): Promise<number> {
      const stats = await world.clients[n]!.info('commandstats');
      return Number(/cmdstat_set:calls=(\d+)/.exec(stats)?.[1] ?? 0);
    }

    it('do not grant what was voted for too late', async () => {
      const { store, through } = await proxied({ nodeTimeout: '2s' });
      for (const proxy of through) proxy.delay(140);
      const key = freshKey();
      await expect(store.acquire(request(key, { leaseTimeMs: 300 }))).rejects.toThrow(
        /a majority answered after 2[89]\d ms|a majority answered after [3-9]\d\d ms/,
      );
      for (const proxy of through) await proxy.pass();
      const long = await take(store, key, { leaseTimeMs: 5_000 });
      expect(await store.release(long), 'control').toBe('released');
    });

    it('a validity counts from when the votes were asked for', async () => {
      const { store, through } = await proxied({ nodeTimeout: '2s' });
      for (const proxy of through) proxy.delay(50);
      const startedAt = now();
      const grant = await take(store, freshKey(), { leaseTimeMs: 5_000 });
      expect(now() - startedAt).toBeGreaterThanOrEqual(99);
      expect(grant.validUntil).toBeGreaterThanOrEqual(startedAt + 5_000 - 50 - 2);
      expect(grant.validUntil).toBeLessThan(startedAt + 5_000 - 50 - 2 + 50);
    });

    it('one that restarts without its data gives nobody a second vote, and has the key again after a renewal', async () => {
      const [store, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(store, key);
      for (const server of world.servers) {
        await server.restart();
        expect(await other.acquire(request(key, { waitTimeMs: 50 })), 'excluded').toBeNull();
        await renewed(store, grant, async () =>
          (await world.holders(key)).every((holder) => holder !== null),
        );
      }
      expect(await store.release(grant)).toBe('released');
      await untilFree(key);
    });

    it('control: two that restart without their data within a lease let a second holder in', async () => {
      const [store, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(store, key);
      await Promise.all([servers[0]!.restart(), servers[1]!.restart()]);
      const second = await take(other, key);
      expect(grant.validUntil, 'documented: no fencing token, two holders').toBeGreaterThan(now());
      await until('the first to be told', () =>
        store.renew([{ grant, leaseTimeMs: 30_000 }]).then(
          ([renewed]) => renewed === false,
          () => false, // not connected again yet
        ),
      );
      expect(await other.release(second)).toBe('released');
      await untilFree(key);
    });

    async function renewed(
      store: LockStore,
      grant: LockGrant,
      enough: () => Promise<boolean>,
    ): Promise<void> {
      await until('a renewal by all', async () => {
        expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([true]);
        return enough();
      });
    }

    it('a lock that a majority has given to somebody else is lost, and its last vote is freed', async () => {
      const store = await world.store();
      const key = freshKey();
      const grant = await take(store, key);
      let reason: string | undefined;
      grant.onLost = (why) => (reason = why);
      for (const client of world.clients.slice(0, 2)) await client.set(world.lockOf(key), 'thief');
      expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([false]);
      expect(reason).toBe('taken-over');
      await until('the third vote to be freed', async () => (await world.holders(key))[2] === null);
      expect((await world.holders(key)).slice(0, 2)).toEqual(['thief', 'thief']);
    });

    it('a lock that a minority has given to somebody else is kept', async () => {
      const store = await world.store();
      const key = freshKey();
      const grant = await take(store, key);
      await world.clients[0]!.set(world.lockOf(key), 'thief');
      expect(await store.renew([{ grant, leaseTimeMs: 30_000 }])).toEqual([true]);
      expect(await store.release(grant)).toBe('released');
      expect(await world.holders(key), 'not ours to free').toEqual(['thief', null, null]);
    });

    it('250 locks are renewed in three commands per server', async () => {
      const store = await world.store();
      const keys = Array.from({ length: 250 }, (_, n) => freshKey(`k${n}`));
      const grants = await Promise.all(keys.map((key) => take(store, key)));
      await Promise.all(world.clients.map((client) => client.config('RESETSTAT')));
      const renewals = grants.map((grant) => ({ grant, leaseTimeMs: 30_000 }));
      expect(new Set(await store.renew(renewals))).toEqual(new Set([true]));
      for (const client of world.clients) {
        const stats = await client.info('commandstats');
        const calls = [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].map((it) =>
          Number(it[1]),
        );
        expect(calls.reduce((sum, it) => sum + it, 0)).toBe(3);
      }
      await Promise.all(grants.map((grant) => store.release(grant)));
    });

    it('the trace of a late command of this process is freed by the next attempt; a foreign one is not', async () => {
      const store = await world.store();
      const key = freshKey();
      const grant = await take(store, key);
      const [id] = await world.holders(key);
      await store.release(grant);
      const stray = id!.replace(/:.*/, ':999999#999999');
      for (const client of world.clients) await client.set(world.lockOf(key), stray, 'PX', 60_000);
      expect(await store.release(await take(store, key, { waitTimeMs: 3_000 }))).toBe('released');
      for (const client of world.clients)
        await client.set(world.lockOf(key), `x${stray}`, 'PX', 60_000);
      expect(await store.acquire(request(key, { waitTimeMs: 200 })), 'control').toBeNull();
    });
  });

  describe('the time that a server is given by default', () => {
    it.each([
      ['20 ms at least', 100, 15, 20],
      ['5 % of the lease', 4_000, 195, 200],
      ['500 ms at most', 60_000, 490, 500],
    ])('is %s', async (_what, leaseTimeMs, atLeast, named) => {
      ofSize(3, {});
      const store = await world.store();
      for (const server of servers.slice(0, 2)) server.freeze();
      const startedAt = now();
      const failure = store.acquire(request(freshKey(), { leaseTimeMs }));
      await expect(failure).rejects.toThrow(`no answer within ${named} ms`);
      expect(now() - startedAt).toBeGreaterThanOrEqual(atLeast);
    });
  });
});
