import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import type { LockKey } from '../../key/lock-key.js';
import type { Admission, LockGrant, LockStore } from '../../store/lock-store.js';
import { atLeast, atMost } from './assertions.js';
import { type Clause, freshKey, openStores, request, take, tick, untilOr } from './clause.js';
import { SHARED } from './admissions.js';

/** Tries until the key is busy for this admission, which shows that somebody waits for it. */
async function untilRefused(store: LockStore, key: LockKey, admission: Admission): Promise<void> {
  for (let n = 0; n < 1_000; n += 1) {
    const grant = await store.acquire(request(key, { admission }));
    if (grant === null) return;
    await store.release(grant);
    await pause(2);
  }
  throw new Error('nobody who waits keeps later callers out');
}

/** Counts who is inside, and fails when the wrong ones are together. */
class Section {
  readonly inside = { shared: 0, exclusive: 0 };
  mostShared = 0;
  entered = 0;

  async visit(store: LockStore, key: LockKey, kind: 'shared' | 'exclusive'): Promise<void> {
    const admission = kind === 'shared' ? { admission: SHARED } : {};
    const grant = await take(store, key, { waitTimeMs: 20_000, ...admission });
    this.inside[kind] += 1;
    const { shared, exclusive } = this.inside;
    this.mostShared = Math.max(this.mostShared, shared);
    atMost(exclusive, 1, 'exclusive holders inside');
    ok(exclusive === 0 || shared === 0, 'shared ones beside an exclusive one');
    // Until shared ones have met; one that is alone goes after a while.
    await untilOr(kind === 'exclusive' ? 0 : 200, () => this.mostShared > 1);
    await tick();
    this.inside[kind] -= 1;
    this.entered += 1;
    equal(await store.release(grant), 'released');
  }
}

/** Holders that tolerate each other: for stores that offer `shared`. */
export const SHARING: readonly Clause[] = [
  {
    item: 23,
    promise: 'shared holders are inside together, of one store and of several; they have no token',
    onlyFor: { offers: ['shared'] },
    async check(world) {
      const [first, second] = await openStores(world, 2);
      const key = freshKey();
      const grants = [
        await take(first!, key, { admission: SHARED, waitTimeMs: 0 }),
        await take(first!, key, { admission: SHARED, waitTimeMs: 0 }),
        await take(second!, key, { admission: SHARED }),
      ];
      equal(new Set(grants.map(({ owner }) => owner)).size, 3);
      deepEqual(
        grants.map(({ fencingToken }) => fencingToken),
        [null, null, null],
      );
      equal(await first!.release(grants[0]!), 'released');
      equal(await first!.release(grants[0]!), 'not-held');
      equal(await second!.acquire(request(key)), null, 'two are left');
      equal(await first!.release(grants[1]!), 'released');
      equal(await second!.release(grants[2]!), 'released');
      notEqual(await first!.acquire(request(key)), null, 'all have left');
    },
  },
  {
    item: 23,
    promise: 'a shared and an exclusive holder are never inside together, whoever came first',
    onlyFor: { offers: ['shared'] },
    async check(world) {
      const [first, second] = await openStores(world, 2);
      const key = freshKey();
      const reader = await take(first!, key, { admission: SHARED });
      for (const store of [first!, second!])
        equal(await store.acquire(request(key)), null, 'a reader is inside');
      await first!.release(reader);
      const writer = await take(second!, key);
      for (const store of [first!, second!])
        equal(await store.acquire(request(key, { admission: SHARED })), null, 'a writer is');
      await second!.release(writer);
    },
  },
  {
    item: 23,
    promise: 'many shared and exclusive callers never meet inside, and shared ones do meet',
    onlyFor: { offers: ['shared'] },
    async check(world) {
      const stores = await openStores(world, 3);
      const key = freshKey();
      const section = new Section();
      const visitors = stores.flatMap((store) =>
        Array.from({ length: 12 }, (_, n) =>
          section.visit(store, key, n % 3 === 0 ? 'exclusive' : 'shared'),
        ),
      );
      await Promise.all(visitors);
      equal(section.entered, 36);
      atLeast(section.mostShared, 2, 'shared holders inside together');
    },
  },
  {
    item: 23,
    promise: 'a shared caller does not overtake an exclusive one that waits',
    onlyFor: { offers: ['shared'], wakes: 'push' },
    async check(world) {
      const [inside, writing, reading] = await openStores(world, 3);
      const key = freshKey();
      const grant = await take(inside!, key, { admission: SHARED });
      const served: string[] = [];
      const serve = async (name: string, store: LockStore, waiting: Promise<LockGrant>) => {
        const mine = await waiting;
        served.push(name);
        await store.release(mine);
      };
      const writer = serve('writer', writing!, take(writing!, key));
      await untilRefused(reading!, key, SHARED);
      const reader = serve('reader', reading!, take(reading!, key, { admission: SHARED }));
      await inside!.release(grant);
      await Promise.all([writer, reader]);
      deepEqual(served, ['writer', 'reader']);
    },
  },
  {
    item: 23,
    promise: 'a stream of shared holders does not starve an exclusive caller',
    onlyFor: { offers: ['shared'], wakes: 'push' },
    async check(world) {
      const [writing, ...reading] = await openStores(world, 4);
      const key = freshKey();
      const stream = { entries: 0, isOver: false };
      // Each stays until another one has come in: unless somebody keeps them out, the key is never free.
      const relay = async (store: LockStore): Promise<void> => {
        while (!stream.isOver) {
          const grant = await take(store, key, { admission: SHARED, waitTimeMs: 20_000 });
          const mine = (stream.entries += 1);
          const leaveAt = now() + 50;
          while (stream.entries === mine && now() < leaveAt) await pause(1);
          await store.release(grant);
        }
      };
      const readers = reading.map((store) => relay(store));
      while (stream.entries < 10) await tick();
      const writer = await take(writing!, key);
      stream.isOver = true;
      await writing!.release(writer);
      await Promise.all(readers);
    },
  },
  {
    item: 23,
    promise: 'whoever gives up at the head of the line lets those behind it in',
    onlyFor: { offers: ['shared'], wakes: 'push' },
    async check(world) {
      const [inside, writing, reading] = await openStores(world, 3);
      const key = freshKey();
      const grant = await take(inside!, key, { admission: SHARED });
      const abort = new AbortController();
      const writer = writing!.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal }));
      await untilRefused(reading!, key, SHARED);
      const reader = take(reading!, key, { admission: SHARED, waitTimeMs: 2_000 });
      abort.abort(new Error('gone'));
      await rejects(writer, { message: 'gone' });
      await reading!.release(await reader);
      equal(await inside!.release(grant), 'released');
    },
  },
  {
    item: 23,
    promise: 'a store that closes leaves no place in the line behind',
    onlyFor: { offers: ['shared'], wakes: 'push' },
    async check(world) {
      const [inside, writing, reading] = await openStores(world, 3);
      const key = freshKey();
      const grant = await take(inside!, key, { admission: SHARED });
      const writer = writing!.acquire(request(key, { waitTimeMs: 60_000 }));
      writer.catch(() => undefined); // turned away by the close, as another clause checks
      await untilRefused(reading!, key, SHARED);
      const reader = take(reading!, key, { admission: SHARED, waitTimeMs: 2_000 });
      await writing!.close();
      await reading!.release(await reader);
      equal(await inside!.release(grant), 'released');
    },
  },
  {
    item: 23,
    promise: 'a shared lease that is not renewed ends, and never comes back',
    onlyFor: { offers: ['shared'], ownership: 'lease' },
    async check(world) {
      const [evicted, successor] = await openStores(world, 2);
      const key = freshKey();
      const old = await take(evicted!, key, { admission: SHARED, leaseTimeMs: 200 });
      deepEqual(await evicted!.renew([{ grant: old, leaseTimeMs: 250 }]), [true]);
      const current = await take(successor!, key);
      atMost(old.validUntil, now(), 'validUntil of the evicted holder');
      deepEqual(await evicted!.renew([{ grant: old, leaseTimeMs: 10_000 }]), [false]);
      equal(await evicted!.release(old), 'not-held');
      equal(await successor!.release(current), 'released');
    },
  },
];
