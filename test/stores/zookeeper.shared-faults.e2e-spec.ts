import { afterAll, beforeAll, describe, expect, inject } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import type { LockLostError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { AcquireRequest, LockGrant } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { Managed } from '../lock/managed.js';
import { ensureBuilt } from '../support/build.js';
import { until } from '../support/until.js';
import { type OwnZooKeeper, startZooKeeper } from '../support/zookeeper.js';
import { isHonoured, lossOf } from './contention.js';
import { sceneOn, SESSION_MS } from './zookeeper-scene.js';

const LAYOUTS = ['mutex', 'read-write'] as const;
const SHARING = { mode: 'shared', fair: false } as const;
const SHARED: Partial<AcquireRequest> = { admission: SHARING, waitTimeMs: 30_000 };
const ALONE: Partial<AcquireRequest> = { waitTimeMs: 30_000 };

/** Notes in `order` that the call was served. */
function served(order: string[], name: string, waiting: Promise<LockGrant>): Promise<LockGrant> {
  return waiting.then((grant) => {
    order.push(name);
    return grant;
  });
}

describe.skipIf(!inject('canStartZooKeeper'))('zookeeper, shared callers and one server', () => {
  let server: OwnZooKeeper;
  beforeAll(async () => {
    // Built before anything is timed: a compiler takes both cores of a small machine.
    await ensureBuilt();
    server = await startZooKeeper();
  });
  afterAll(() => server?.stop());
  const it = sceneOn(() => server);

  describe.concurrent.each(LAYOUTS)('%s: a connection', (layout) => {
    it('that is down and comes back within the session costs no shared hold: a writer waits for the last of them', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [cut, spared, writer] = [
        await behindProxy({ layout }),
        await world.store({ layout }),
        await world.store({ layout }),
      ];
      const key = freshKey();
      const grants = [await take(cut, key, SHARED), await take(spared, key, SHARED)] as const;
      const losses = grants.map(lossOf);
      const order: string[] = [];
      const writing = served(order, 'writer', take(writer, key, ALONE));
      await world.queued(2);
      const places = await world.places();
      await proxy.refuse();
      expect(await isHonoured(cut, grants[0]), 'control: it cannot be reached').toBe(false);
      expect(grants[0].validUntil, 'SUSPENDED is not LOST').toBeGreaterThan(now());
      expect(await spared.release(grants[1])).toBe('released');
      await proxy.pass();
      await until('it to be back', () => isHonoured(cut, grants[0]));
      expect(losses).toEqual([{}, {}]);
      expect(order).toEqual([]);
      expect(places).toEqual(expect.arrayContaining(await world.places()));
      expect(await world.places()).toHaveLength(2);
      expect(await cut.release(grants[0])).toBe('released');
      expect(await writer.release(await writing)).toBe('released');
      expect(await world.places()).toEqual([]);
    });

    it('that breaks, or is down when the key becomes free, costs waiters that would share it nothing', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [writer, one, two] = [
        await world.store({ layout }),
        await behindProxy({ layout }),
        await behindProxy({ layout }),
      ];
      const key = freshKey();
      const grant = await take(writer, key, ALONE);
      const waiting = [take(one, key, SHARED), take(two, key, SHARED)];
      await world.queued(2);
      const places = await world.places();
      proxy.cut();
      await until('a new connection each', () => proxy.connections === 2);
      expect(await world.places()).toEqual(places);
      await proxy.refuse(); // down when the key becomes free: nobody hears it
      expect(await writer.release(grant)).toBe('released');
      await proxy.pass();
      const grants = await Promise.all(waiting);
      expect(await writer.acquire(request(key)), 'both are inside').toBeNull();
      expect(await one.release(grants[0]!)).toBe('released');
      expect(await writer.acquire(request(key)), 'one is').toBeNull();
      expect(await two.release(grants[1]!)).toBe('released');
      expect(await world.places()).toEqual([]);
    });
  });

  describe.concurrent.each(LAYOUTS)('%s: a network that swallows everything', (layout) => {
    it('ends a shared hold before a writer enters; the others keep theirs, and keep the writer out', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [cut, spared, writer] = [
        await behindProxy({ layout }),
        await world.store({ layout }),
        await world.store({ layout }),
      ];
      const [both, alone] = [freshKey('both'), freshKey('alone')];
      const cutOff = new Managed(cut);
      const times = { leaseTimeMs: 30_000 };
      const mine = await cutOff.enter(both, times, undefined, SHARING);
      const single = await cutOff.enter(alone, times, undefined, SHARING);
      const theirs = await take(spared, both, SHARED);
      // Control: without the fault a shared hold lasts, past a session, and keeps the writer out.
      const busy = request(alone, { waitTimeMs: 1.5 * SESSION_MS });
      expect(await writer.acquire(busy)).toBeNull();
      const order: string[] = [];
      for (const { lost } of [mine, single])
        lost.addEventListener('abort', () => order.push((lost.reason as LockLostError).reason));
      const loss = lossOf(theirs);
      const entering = served(order, 'writer', take(writer, alone, ALONE));
      const waiting = take(writer, both, ALONE).then((grant) => ({ grant, at: now() }));
      await until('all to wait', async () => (await world.places()).length === 5);
      proxy.blackhole();
      const entered = await entering;
      expect(order, 'both losses first').toEqual(['expired', 'expired', 'writer']);
      expect([mine.isHeld(), single.isHeld()]).toEqual([false, false]);
      expect(await isHonoured(spared, theirs)).toBe(true);
      expect(loss).toEqual({});
      const releasedAt = now();
      expect(await spared.release(theirs)).toBe('released');
      const { grant, at } = await waiting;
      expect(at).toBeGreaterThan(releasedAt);
      await proxy.pass();
      expect(await mine.release()).toBe('not-held');
      expect(await isHonoured(writer, grant), 'what arrives late frees nobody else').toBe(true);
      expect(await writer.release(entered)).toBe('released');
      expect(await writer.release(grant)).toBe('released');
    });

    it('costs a waiter that would share the key its place, not the lock: it queues again in a new session', async ({
      proxy,
      world,
      behindProxy,
    }) => {
      const [writer, reader] = [await world.store({ layout }), await behindProxy({ layout })];
      const key = freshKey();
      const grant = await take(writer, key, ALONE);
      const waiting = take(reader, key, SHARED);
      await world.queued(1);
      const places = await world.places();
      proxy.blackhole();
      await until('the server to end the session', async () => (await world.places()).length === 1);
      await proxy.pass();
      await world.queued(1);
      expect(await world.places()).not.toEqual(places);
      expect(await writer.release(grant)).toBe('released');
      expect(await reader.release(await waiting)).toBe('released');
    });
  });
});
