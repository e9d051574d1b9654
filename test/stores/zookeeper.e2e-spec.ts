import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type {
  AcquireRequest,
  LockGrant,
  LockStore,
} from '../../src/distributed-lock/store/lock-store.js';
import { zookeeperStore } from '../../src/distributed-lock/store/zookeeper/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { CREDENTIALS, rawSession, ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { failureOf } from '../lock/managed.js';
import { freePort } from '../support/throwaway.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { startZooKeeper } from '../support/zookeeper.js';
import { Contention } from './contention.js';
import { CommandLog } from './counted-session.js';

const url = inject('zookeeperUrl');

const SHARED: Partial<AcquireRequest> = { admission: { mode: 'shared', fair: false } };

describe.skipIf(url === null)('zookeeper', () => {
  let world: ZooKeeperWorld;
  beforeEach(() => {
    world = new ZooKeeperWorld(url!);
  });
  afterEach(() => world.close());

  /** A store whose commands are counted, with the directory of the key made already. */
  async function counted(): Promise<{ store: LockStore; log: CommandLog }> {
    const log = new CommandLog();
    const store = await world.store({ openSession: log.openSession(url!) });
    log.take();
    return { store, log };
  }

  /** Lets others take the key once, so that its directory is there. */
  async function usedKey() {
    const key = freshKey();
    const store = await world.store();
    await store.release(await take(store, key));
    return key;
  }

  describe('commands', () => {
    it('are three for a key that is free', async () => {
      const { store, log } = await counted();
      const key = await usedKey();
      expect(await store.release(await take(store, key))).toBe('released');
      expect(log.take()).toEqual(['create', 'list', 'delete']);
    });

    it('are two more for a key that was never used', async () => {
      const { store, log } = await counted();
      await store.release(await take(store, freshKey()));
      expect(log.take()).toEqual(['create', 'create container', 'create', 'list', 'delete']);
    });

    it('are five for a waiter: it looks once, watches the one before it, and looks again', async () => {
      const { store, log } = await counted();
      const holder = await world.store();
      const key = freshKey();
      const held = await take(holder, key);
      const waiting = take(store, key);
      await until('the watch', () => log.commands.includes('watch'));
      await holder.release(held);
      await store.release(await waiting);
      expect(log.take()).toEqual(['create', 'list', 'watch', 'list', 'delete']);
    });

    it('are three for a try that finds the key busy, and none where this process holds it', async () => {
      const { store, log } = await counted();
      const [busy, own] = [freshKey(), await usedKey()];
      await take(await world.store(), busy);
      expect(await store.acquire(request(busy))).toBeNull();
      expect(log.take()).toEqual(['create', 'list', 'delete']);
      await take(store, own);
      log.take();
      expect(await store.acquire(request(own))).toBeNull();
      expect(log.take()).toEqual([]);
    });

    it('are not more per waiter when two hundred wait: a release wakes one of them', async () => {
      const { store, log } = await counted();
      const key = await usedKey();
      const first = await take(store, key);
      const waiting = Array.from({ length: 200 }, async () =>
        store.release(await take(store, key, { waitTimeMs: 30_000 })),
      );
      await store.release(first);
      await Promise.all(waiting);
      const commands = log.take();
      for (const name of ['create', 'delete'])
        expect(commands.filter((it) => it === name)).toHaveLength(201);
      expect(commands.filter((it) => it === 'list').length).toBeLessThanOrEqual(401);
      expect(commands.filter((it) => it === 'watch').length).toBeLessThanOrEqual(200);
    });

    it('are one for the renewal of any number of grants', async () => {
      const { store, log } = await counted();
      const grants = await Promise.all([1, 2, 3].map(() => take(store, freshKey())));
      const renewals = grants.map((grant) => ({ grant, leaseTimeMs: 1_000 }));
      await store.renew(renewals);
      expect(log.take().filter((it) => it === 'watch')).toHaveLength(3);
      expect(await store.renew(renewals)).toEqual([true, true, true]);
      expect(log.take()).toEqual(['confirm']);
    });
  });

  it.each(['mutex', 'semaphore-mutex'] as const)(
    'leaves nothing behind with the layout %s: tries, time-outs, aborts in the middle of the queue',
    async (layout) => {
      const [holder, other] = [await world.store({ layout }), await world.store({ layout })];
      const key = freshKey();
      const grant = await take(holder, key);
      const abort = new AbortController();
      const aborted = failureOf(
        other.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal })),
      );
      const later = take(other, key);
      await world.queued(2);
      expect(await other.acquire(request(key))).toBeNull();
      expect(await other.acquire(request(key, { waitTimeMs: 50 }))).toBeNull();
      abort.abort(new Error('gone'));
      await aborted;
      await world.queued(1);
      await holder.release(grant);
      await other.release(await later);
      expect(await world.places()).toEqual([]);
    },
  );

  describe('shared callers', () => {
    const layouts = ['mutex', 'read-write', 'semaphore-mutex'] as const;

    it.each(layouts)('leave nothing behind with the layout %s', async (layout) => {
      const [holder, other] = [await world.store({ layout }), await world.store({ layout })];
      const key = freshKey();
      const grant = await take(holder, key, SHARED);
      const beside = await take(other, key, SHARED);
      const abort = new AbortController();
      const writer = failureOf(
        other.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal })),
      );
      await until('the writer to wait', async () => (await world.places()).length > 2);
      expect(await holder.acquire(request(key, SHARED)), 'behind the writer').toBeNull();
      expect(await holder.acquire(request(key, { ...SHARED, waitTimeMs: 50 }))).toBeNull();
      const later = take(holder, key, SHARED);
      abort.abort(new Error('gone'));
      await writer;
      for (const it of [grant, await later]) expect(await holder.release(it)).toBe('released');
      expect(await other.release(beside)).toBe('released');
      expect(await world.places()).toEqual([]);
    });

    it('go in together between two writers', async () => {
      const [writing, reading] = [await world.store(), await world.store()];
      const key = freshKey();
      const first = await take(writing, key);
      const crowd = Array.from({ length: 20 }, () => take(reading, key, SHARED));
      await world.queued(20);
      const last = take(writing, key);
      await world.queued(21);
      await writing.release(first);
      const together = await Promise.all(crowd);
      expect(await writing.acquire(request(key))).toBeNull();
      await Promise.all(together.map((it) => reading.release(it)));
      await writing.release(await last);
      expect(await world.places()).toEqual([]);
    });

    it.each([
      ['mutex', 'read-write'],
      ['read-write', 'mutex'],
    ] as const)('of the layout %s and callers of %s exclude each other', async (mine, theirs) => {
      const [one, two] = [
        await world.store({ layout: mine }),
        await world.store({ layout: theirs }),
      ];
      const key = freshKey();
      const shared = await take(one, key, SHARED);
      const beside = await take(two, key, { ...SHARED, waitTimeMs: 0 });
      expect(await two.acquire(request(key))).toBeNull();
      const waiting = take(two, key);
      await world.queued(2);
      expect(await one.acquire(request(key, SHARED)), 'behind the writer').toBeNull();
      await one.release(shared);
      await two.release(beside);
      const alone = await waiting;
      expect(await one.acquire(request(key, SHARED))).toBeNull();
      expect(await one.acquire(request(key))).toBeNull();
      await two.release(alone);
      await one.release(await take(one, key));
    });

    it('whose node is removed by hand learn it, and the writer behind them enters', async () => {
      const [reading, writing] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(reading, key, SHARED);
      const lost = new Promise((resolve) => (grant.onLost = resolve));
      const waiting = take(writing, key);
      await world.queued(1);
      const [node] = (await world.places()).filter((it) => it.includes('-shared-lock-'));
      await world.client.delete(`${world.directory}/${node}`);
      expect(await lost).toBe('taken-over');
      expect(await reading.release(grant)).toBe('not-held');
      expect(await writing.release(await waiting)).toBe('released');
    });
  });

  it('gives tokens that grow over all keys, and go on growing when a directory is new', async () => {
    const store = await world.store();
    const key = freshKey();
    let last = 0n;
    for (const it of [key, freshKey(), key]) {
      const grant = await take(store, it);
      expect(grant.fencingToken! > last).toBe(true);
      last = grant.fencingToken!;
      await store.release(grant);
      if (it === key) {
        for (const node of await world.nodes())
          await world.client.delete(`${world.directory}/${node}`).catch(() => undefined);
      }
    }
  });

  describe('nodes that somebody removes by hand', () => {
    const lossOf = (grant: LockGrant) =>
      new Promise<string>((resolve) => {
        grant.onLost = resolve;
      });

    it('end the hold: its holder is told at once when it has held for a while', async () => {
      const store = await world.store();
      const grant = await take(store, freshKey());
      const lost = lossOf(grant);
      await pause(200); // longer than a hold goes without a watch
      const [place] = await world.places();
      const removedAt = now();
      await world.client.delete(`${world.directory}/${place}`);
      expect(await lost).toBe('taken-over');
      expect(now() - removedAt).toBeLessThan(500);
      expect(grant.validUntil).toBeLessThanOrEqual(now());
      expect(await store.renew([{ grant, leaseTimeMs: 1_000 }])).toEqual([false]);
      expect(await store.release(grant)).toBe('not-held');
    });

    it('end a young hold too, without a renewal', async () => {
      const store = await world.store();
      const grant = await take(store, freshKey());
      const lost = lossOf(grant);
      await world.client.delete(`${world.directory}/${(await world.places())[0]}`);
      expect(await lost).toBe('taken-over');
    });

    it('are found by a renewal, however young the hold', async () => {
      const store = await world.store();
      const grant = await take(store, freshKey());
      await world.client.delete(`${world.directory}/${(await world.places())[0]}`);
      expect(await store.renew([{ grant, leaseTimeMs: 1_000 }])).toEqual([false]);
    });

    describe.each(['mutex', 'semaphore-mutex'] as const)('with the layout %s', (layout) => {
      /** Removes the nodes of all calls but one, and the directories that are empty then. */
      const removeOthers = async (owner: string) => {
        for (const node of (await world.nodes()).toReversed()) {
          if (node.endsWith(owner)) continue;
          await world.client.delete(`${world.directory}/${node}`).catch(() => undefined);
        }
      };

      it('cost a waiter its place, never the lock', async () => {
        const [holder, other] = [await world.store({ layout }), await world.store({ layout })];
        const key = freshKey();
        const held = await take(holder, key);
        const waiting = take(other, key);
        await world.queued(1);
        const before = await world.nodes();
        await removeOthers(held.owner);
        // Then that of the holder, as `deleteall` would do it. Not before: the waiter has the lock from the moment in which nobody is before
        // it, and whoever removes its node after that removes the lock of a holder, not the place of a waiter.
        const own = before.find((it) => it.endsWith(held.owner));
        await world.client.delete(`${world.directory}/${own}`);
        const grant = await waiting;
        expect(before.filter((it) => it.endsWith(grant.owner))).toEqual([]);
        await until('the first to know', () => held.validUntil <= now());
        expect(await holder.acquire(request(key)), 'still one owner').toBeNull();
        expect(await other.release(grant)).toBe('released');
      });

      it('never let two inside, when everybody inside removes what belongs to the others', async () => {
        const stores = await Promise.all([1, 2, 3, 4].map(() => world.store({ layout })));
        const contention = new Contention(stores, freshKey(), (grant) => removeOthers(grant.owner));
        await until('it to go on', () => contention.entered > 50);
        await contention.end();
        expect(contention.anomalies).toEqual([]);
      });

      it('control: two are inside for a moment when the lock itself is removed', async () => {
        const stores = await Promise.all([1, 2, 3, 4].map(() => world.store({ layout })));
        const contention = new Contention(stores, freshKey(), async () => {
          await removeOthers('nobody');
          await pause(20);
        });
        await until('two inside', () => contention.anomalies.length > 0);
        await contention.end();
      });
    });

    it('do not make waiters wait for each other (semaphore-mutex)', async () => {
      const layout = 'semaphore-mutex';
      const [holder, ...others] = await Promise.all([1, 2, 3].map(() => world.store({ layout })));
      const key = freshKey();
      const held = await take(holder!, key);
      const served: number[] = [];
      const waiting: Promise<unknown>[] = [];
      for (const [index, store] of others.entries()) {
        const turn = take(store, key).then(async (grant) => {
          served.push(index);
          await store.release(grant);
        });
        waiting.push(turn);
        await world.queued(index + 1);
      }
      const [first] = (await world.places())
        .filter((it) => it.includes('/locks/'))
        .sort(bySequence);
      await world.client.delete(`${world.directory}/${first}`);
      await until('both to have a lease', async () => (await leases()).length === 3);
      expect(await holder!.release(held)).toBe('released');
      await Promise.all(waiting);
      expect(served).toEqual([0, 1]);
    });

    const leases = async () => (await world.places()).filter((it) => it.includes('-lease-'));
    const bySequence = (a: string, b: string) => Number(a.slice(-10)) - Number(b.slice(-10));
  });

  it('abandons a key until its lease is over, also when the process closes', async () => {
    const [leaver, other] = [await world.store({ sessionTimeout: 1_000 }), await world.store()];
    const [key, second] = [freshKey(), freshKey()];
    leaver.abandon(await take(leaver, key, { leaseTimeMs: 400 }));
    const abandonedAt = now();
    expect(await leaver.acquire(request(key)), 'not even its own store').toBeNull();
    await other.release(await take(other, key));
    expect(now() - abandonedAt).toBeGreaterThan(390);
    leaver.abandon(await take(leaver, second, { leaseTimeMs: 60_000 }));
    await leaver.close();
    expect(await other.acquire(request(second)), 'closed with its owner').toBeNull();
    await other.release(await take(other, second));
  });

  it('frees everything at once when it closes, waiters included', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const key = freshKey();
    await take(store, key);
    const waiting = failureOf(take(store, key));
    await world.queued(1);
    await store.close();
    await waiting;
    expect(await world.places()).toEqual([]);
    await other.release(await take(other, key, { waitTimeMs: 0 }));
  });

  it('works below a chroot, and refuses one that does not exist', async () => {
    const chroot = `/app-${world.namespace}`;
    const store = zookeeperStore({ connectString: `${url!}${chroot}`, root: '/locks' });
    const failure = await failureOf(store.open('n', 5_000));
    expect(failure).toBeInstanceOf(LockConfigurationError);
    expect(String(failure)).toMatch(/"connectString" .* chroot that does not exist/);
    await store.close();

    await world.client.create(chroot, 'persistent');
    const [first, second] = [1, 2].map(() =>
      zookeeperStore({ connectString: `${url!}${chroot}`, root: '/locks' }),
    ) as [LockStore, LockStore];
    await Promise.all([first.open('n', 5_000), second.open('n', 5_000)]);
    const key = freshKey('chroot');
    const grant = await take(first, key);
    const waiting = take(second, key);
    await until('it to queue', async () => (await world.nodes(chroot)).length === 5);
    expect(await world.nodes(chroot)).toContain(`locks/n/${key}`);
    await first.release(grant);
    await second.release(await waiting);
    await Promise.all([first.close(), second.close()]);
    for (const node of (await world.nodes(chroot)).toReversed())
      await world.client.delete(`${chroot}/${node}`);
    await world.client.delete(chroot);
  });

  it('has keys directly below the root where no namespace is wanted', async () => {
    const root = `${world.directory}/shared`;
    const store = await world.store({ root, namespaceInPath: false });
    await take(store, 'job1' as never);
    expect(await world.nodes(root)).toContain('job1');
  });

  describe('permissions', () => {
    const auth = { scheme: 'digest', credentials: CREDENTIALS };
    const digest = createHash('sha1').update(CREDENTIALS).digest('base64');

    it('let those in who have the same credentials, and nobody else', async () => {
      const root = `${world.directory}/private`;
      const [first, second] = [1, 2].map(() => world.store({ root, auth, acl: 'creator' }));
      const key = freshKey();
      const grant = await take(await first!, key);
      const waiting = take(await second!, key);
      const failure = await failureOf(world.store({ root }));
      expect(failure).toBeInstanceOf(LockConfigurationError);
      expect(String(failure)).toMatch(/refuses create .*NoAuth: no permission; check "auth"/);
      await (await first!).release(grant);
      await (await second!).release(await waiting);
    });

    it('are checked at boot: a root that may only be read', async () => {
      const root = `${world.directory}/readonly`;
      const acl = [
        { scheme: 'digest', id: `locks:${digest}`, permissions: 'crwda' },
        { scheme: 'world', id: 'anyone', permissions: 'r' },
      ];
      await world.store({ root, acl, auth });
      const store = zookeeperStore({ connectString: url!, root });
      const failure = await failureOf(store.open(world.namespace, 5_000));
      expect(failure).toBeInstanceOf(LockConfigurationError);
      expect(String(failure)).toContain('NoAuth');
      await store.close();
    });

    it('are refused at boot where the server does not know the scheme', async () => {
      const store = zookeeperStore({
        connectString: url!,
        auth: { scheme: 'passport', credentials: 'x' },
      });
      const failure = await failureOf(store.open(world.namespace, 5_000));
      expect(failure).toBeInstanceOf(LockConfigurationError);
      expect(String(failure)).toContain('does not accept "auth"');
      expect(
        await failureOf(store.acquire(request(freshKey(), { waitTimeMs: 1_000 }))),
      ).toBeInstanceOf(LockConfigurationError);
      await store.close();
    });
  });

  describe('a server that is not there', () => {
    it('is unavailable at boot and for every call, never busy; the store goes on trying', async () => {
      const proxy = await TcpProxy.forUrl(`http://${url!}`);
      await proxy.refuse();
      const store = zookeeperStore({ connectString: `127.0.0.1:${proxy.port}` });
      const failure = await failureOf(store.open(world.namespace, 300));
      expect(failure).toBeInstanceOf(LockStoreUnavailableError);
      expect(String(failure)).toContain('ECONNREFUSED');
      for (const waitTimeMs of [0, 100]) {
        const refused = await failureOf(store.acquire(request(freshKey(), { waitTimeMs })));
        expect(refused).toBeInstanceOf(LockStoreUnavailableError);
      }
      const waiting = take(store, freshKey(), { waitTimeMs: 30_000 });
      await proxy.pass();
      await store.release(await waiting);
      await store.close();
      await proxy.close();
    });

    it('is passed over for the next one of the list', async () => {
      const dead = `127.0.0.1:${await freePort()}`;
      const store = await world.store({ connectString: `${dead},${url!},${dead}` });
      await store.release(await take(store, freshKey()));
    });

    it('is not mistaken for something else that answers on that port', async () => {
      const { createServer } = await import('node:net');
      const impostor = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
      });
      await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
      const { port } = impostor.address() as { port: number };
      const store = zookeeperStore({ connectString: `127.0.0.1:${port}` });
      const failure = await failureOf(store.open(world.namespace, 300));
      expect(failure).toBeInstanceOf(LockStoreUnavailableError);
      expect(String(failure)).toContain('not a ZooKeeper client port');
      await store.close();
      impostor.close();
    });
  });
});

describe.skipIf(!inject('canStartZooKeeper'))('zookeeper, directories of keys', () => {
  it('vanish when nobody uses them: memory stays flat over any number of keys', async () => {
    // It removes all that it finds at each look; as it is delivered, one container in six milliseconds.
    const server = await startZooKeeper({ javaArgs: ['-Dznode.container.maxPerMinute=600000'] });
    const session = rawSession(server.url);
    const store = zookeeperStore({ connectString: server.url });
    await store.open('n', 10_000);
    await Promise.all(
      Array.from({ length: 500 }, async () => store.release(await take(store, freshKey()))),
    );
    await until(
      'the server to remove them',
      async () => (await session.getChildren('/lock/mutex/n')).length === 0,
      { deadlineMs: 20_000, everyMs: 100 },
    );
    await store.release(await take(store, freshKey()));
    await Promise.all([store.close(), session.close()]);
    await server.stop();
  });
});
