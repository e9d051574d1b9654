import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { failureOf, Managed } from '../lock/managed.js';
import { ensureBuilt } from '../support/build.js';
import { until } from '../support/until.js';
import { type OwnZooKeeper, startZooKeeper } from '../support/zookeeper.js';
import { isHonoured, lossOf } from './contention.js';
import { sceneOn, SESSION_MS } from './zookeeper-scene.js';

const canStart = inject('canStartZooKeeper');

describe.skipIf(!canStart)('zookeeper, one server', () => {
  let server: OwnZooKeeper;
  beforeAll(async () => {
    // Built before anything is timed: a compiler takes both cores of a small machine.
    await ensureBuilt();
    server = await startZooKeeper();
  });
  afterAll(() => server.stop());

  const it = sceneOn(() => server);

  describe.concurrent('a connection', () => {
    it('that breaks frees nothing: the holder goes on, and so does the place of a waiter', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [holder, waiter] = [await behindProxy(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const loss = lossOf(grant);
      const waiting = take(waiter, key);
      await world.queued(1);
      const places = await world.places();
      proxy.cut();
      await until('the holder to be back', () => isHonoured(holder, grant));
      expect(await world.places()).toEqual(places);
      expect(await holder.release(grant)).toBe('released');
      expect(await waiter.release(await waiting)).toBe('released');
      expect(loss.reason).toBeUndefined();
      expect(await world.places()).toEqual([]);
    });

    it('that is down while the key is released wakes the waiter when it is back', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const waiting = take(waiter, key);
      // The waiter's, and that of the holder, who watches its own node by then.
      await until('both watches', async () => (await server.watchers(grant.owner)) === 2);
      await proxy.refuse();
      await holder.release(grant);
      await proxy.pass();
      await waiter.release(await waiting);
      expect(await world.places()).toEqual([]);
    });

    it.for([
      ['mutex', '-lock-'],
      ['semaphore-mutex', '-lease-'],
    ] as const)(
      'that breaks after a place was taken finds it again (%s)',
      async ([layout, name], { world, proxy, behindProxy }) => {
        const store = await behindProxy({ layout });
        const key = freshKey();
        await store.release(await take(store, key)); // its directories are there
        const cut = proxy.cutBeforeReplyTo(name);
        const grant = await take(store, key);
        await cut;
        await until('one place', async () => (await world.places()).length === 1);
        expect((await world.places())[0]).toContain(grant.owner);
        expect(await store.release(grant)).toBe('released');
        expect(await world.places()).toEqual([]);
      },
    );

    it('that breaks under a try is unavailable, never busy, and leaves nothing behind', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const store = await behindProxy();
      const key = freshKey();
      await store.release(await take(store, key));
      const cut = proxy.cutBeforeReplyTo('-lock-');
      expect(await failureOf(store.acquire(request(key)))).toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await cut;
      await until('the place to go', async () => (await world.places()).length === 0);
    });

    it('that is down when a hold is released: the release is told later, long before the session ends', async ({
      world,
      proxy,
      behindProxy,
    }) => {
      const [store, other] = [await behindProxy({ sessionTimeout: 60_000 }), await world.store()];
      const grant = await take(store, freshKey());
      await proxy.refuse();
      await expect(store.release(grant)).rejects.toBeInstanceOf(LockStoreUnavailableError);
      const waiting = take(other, grant.key, { waitTimeMs: 10_000 });
      await proxy.pass();
      await other.release(await waiting);
    });

    it('that is down fails a wait when its time is over: unavailable, not busy', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      await take(holder, key);
      const waiting = failureOf(waiter.acquire(request(key, { waitTimeMs: 300 })));
      await world.queued(1);
      await proxy.refuse();
      expect(await waiting).toBeInstanceOf(LockStoreUnavailableError);
      await proxy.pass();
      await until('its place to go', async () => (await world.places()).length === 1);
    });
  });

  describe.concurrent('a network that swallows everything', () => {
    it('control: without it a hold lasts, past two session timeouts, with few renewals', async ({
      behindProxy,
    }) => {
      const managed = new Managed(await behindProxy());
      const hold = await managed.enter(freshKey(), { leaseTimeMs: 30_000 });
      await pause(2 * SESSION_MS);
      expect(hold.isHeld()).toBe(true);
      expect(managed.types).toEqual(['acquired']);
      await hold.end();
      expect(managed.types).toEqual(['acquired', 'released']);
    });

    it('and heals in time costs nothing', async ({ proxy, behindProxy }) => {
      const store = await behindProxy();
      const grant = await take(store, freshKey());
      const loss = lossOf(grant);
      proxy.blackhole();
      const { validUntil } = grant;
      await pause(SESSION_MS / 4);
      await proxy.pass();
      await until('news', () => grant.validUntil > validUntil);
      expect(loss.reason).toBeUndefined();
      expect(await store.release(grant)).toBe('released');
    });

    it('costs a waiter its place, not the lock: it queues again in a new session', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const waiting = take(waiter, key, { waitTimeMs: 30_000 });
      await world.queued(1);
      proxy.blackhole();
      await until('the server to end the session', async () => (await world.places()).length === 1);
      await proxy.pass();
      await until('a new place', async () => (await world.places()).length === 2);
      await holder.release(grant);
      await waiter.release(await waiting);
    });
  });

  describe('the server', () => {
    it('frozen for longer than a session: holds end by their own clocks', async ({ world }) => {
      const store = await world.store();
      const grant = await take(store, freshKey());
      server.freeze();
      try {
        await until('the deadline', () => grant.validUntil <= now());
        const tried = await failureOf(store.acquire(request(freshKey())));
        expect(tried).toBeInstanceOf(LockStoreUnavailableError);
        await expect(store.renew([{ grant, leaseTimeMs: 1_000 }])).rejects.toBeInstanceOf(
          LockStoreUnavailableError,
        );
      } finally {
        server.thaw();
      }
      await take(store, freshKey(), { waitTimeMs: 20_000 });
    });
  });
});
