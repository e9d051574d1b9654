import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type {
  Admission,
  LockGrant,
  LockStore,
} from '../../src/distributed-lock/store/lock-store.js';
import { type Clause, freshKey, request, type StoreWorld, take } from './clause.js';

const SHARED: Admission = { mode: 'shared', fair: false };
const FAIR: Admission = { mode: 'exclusive', fair: true };
const permit = (permits: number): Admission => ({ mode: 'permit', permits, fair: false });

const openStores = (world: StoreWorld, count: number): Promise<LockStore[]> =>
  Promise.all(Array.from({ length: count }, () => world.store()));

const tick = () => new Promise(setImmediate);

/** Waits for the condition, for `ms` at most. */
async function untilOr(ms: number, condition: () => boolean): Promise<void> {
  const end = now() + ms;
  while (!condition() && now() < end) await pause(1);
}

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
    expect(exclusive, 'exclusive holders inside').toBeLessThanOrEqual(1);
    expect(exclusive === 0 || shared === 0, 'shared ones beside an exclusive one').toBe(true);
    // Until shared ones have met; one that is alone goes after a while.
    await untilOr(kind === 'exclusive' ? 0 : 200, () => this.mostShared > 1);
    await tick();
    this.inside[kind] -= 1;
    this.entered += 1;
    expect(await store.release(grant)).toBe('released');
  }
}

/** What a store offers beyond one holder at a time in its own order. */
export const ADMISSION: readonly Clause[] = [
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
      expect(new Set(grants.map(({ owner }) => owner)).size).toBe(3);
      expect(grants.map(({ fencingToken }) => fencingToken)).toEqual([null, null, null]);
      expect(await first!.release(grants[0]!)).toBe('released');
      expect(await first!.release(grants[0]!)).toBe('not-held');
      expect(await second!.acquire(request(key)), 'two are left').toBeNull();
      expect(await first!.release(grants[1]!)).toBe('released');
      expect(await second!.release(grants[2]!)).toBe('released');
      expect(await first!.acquire(request(key)), 'all have left').not.toBeNull();
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
        expect(await store.acquire(request(key)), 'a reader is inside').toBeNull();
      await first!.release(reader);
      const writer = await take(second!, key);
      for (const store of [first!, second!])
        expect(await store.acquire(request(key, { admission: SHARED })), 'a writer is').toBeNull();
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
      expect(section.entered).toBe(36);
      expect(section.mostShared).toBeGreaterThan(1);
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
      expect(served).toEqual(['writer', 'reader']);
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
      await expect(writer).rejects.toThrow('gone');
      await reading!.release(await reader);
      expect(await inside!.release(grant)).toBe('released');
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
      expect(await inside!.release(grant)).toBe('released');
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
      expect(await evicted!.renew([{ grant: old, leaseTimeMs: 250 }])).toEqual([true]);
      const current = await take(successor!, key);
      expect(old.validUntil, 'the evicted one still believes').toBeLessThanOrEqual(now());
      expect(await evicted!.renew([{ grant: old, leaseTimeMs: 10_000 }])).toEqual([false]);
      expect(await evicted!.release(old)).toBe('not-held');
      expect(await successor!.release(current)).toBe('released');
    },
  },
  {
    item: 23,
    promise: 'as many as there are permits are inside, over all stores, and never one more',
    onlyFor: { offers: ['permits'] },
    async check(world) {
      const stores = await openStores(world, 4);
      const key = freshKey();
      let [inside, most, entered] = [0, 0, 0];
      const visit = async (store: LockStore): Promise<void> => {
        const grant = await take(store, key, { admission: permit(3), waitTimeMs: 20_000 });
        most = Math.max(most, (inside += 1));
        await untilOr(1_000, () => most >= 3); // until all permits were out once
        await tick();
        inside -= 1;
        entered += 1;
        expect(await store.release(grant)).toBe('released');
      };
      await Promise.all(stores.flatMap((store) => Array.from({ length: 8 }, () => visit(store))));
      expect(entered).toBe(32);
      expect(most).toBe(3);
      const held = await Promise.all(
        stores.slice(1).map((it) => take(it, key, { admission: permit(3) })),
      );
      expect(await stores[0]!.acquire(request(key, { admission: permit(3) })), 'full').toBeNull();
      expect(await stores[0]!.acquire(request(key)), 'not exclusively either').toBeNull();
      expect(held.map(({ fencingToken }) => fencingToken)).toEqual([null, null, null]);
    },
  },
  {
    item: 23,
    promise: 'a permit whose lease has ended is free again, and its holder knows by then',
    onlyFor: { offers: ['permits'], ownership: 'lease' },
    async check(world) {
      const [crashed, waiting] = await openStores(world, 2);
      const key = freshKey();
      const old = await take(crashed!, key, { admission: permit(2), leaseTimeMs: 200 });
      await take(crashed!, key, { admission: permit(2) });
      const next = await take(waiting!, key, { admission: permit(2), waitTimeMs: 3_000 });
      expect(old.validUntil).toBeLessThanOrEqual(now());
      expect(await crashed!.renew([{ grant: old, leaseTimeMs: 10_000 }])).toEqual([false]);
      expect(await crashed!.release(old)).toBe('not-held');
      expect(await crashed!.acquire(request(key, { admission: permit(2) })), 'full').toBeNull();
      expect(await waiting!.release(next)).toBe('released');
    },
  },
  {
    item: 7,
    promise:
      'fair callers are served in order of arrival over all stores, each with a greater token',
    onlyFor: { offers: ['fair'] },
    async check(world) {
      const stores = await openStores(world, 4);
      const key = freshKey();
      const first = await take(stores[0]!, key, { admission: FAIR });
      const served: number[] = [];
      let lastToken = first.fencingToken!;
      const waiters: Promise<void>[] = [];
      for (let n = 0; n < 12; n += 1) {
        const store = stores[n % 4]!;
        const waiting = take(store, key, { admission: FAIR, waitTimeMs: 20_000 });
        waiters.push(
          waiting.then(async (grant) => {
            served.push(n);
            expect(grant.fencingToken! > lastToken).toBe(true);
            lastToken = grant.fencingToken!;
            await store.release(grant);
          }),
        );
        // Commands of one store about one key keep their order: once this one is answered, the caller stands in the line.
        expect(await store.acquire(request(key, { admission: FAIR }))).toBeNull();
      }
      await stores[0]!.release(first);
      await Promise.all(waiters);
      expect(served).toEqual(Array.from({ length: 12 }, (_, n) => n));
    },
  },
  {
    item: 7,
    promise: 'fair callers and others exclude each other, with tokens that grow over both',
    onlyFor: { offers: ['fair'] },
    async check(world) {
      const stores = await openStores(world, 4);
      const key = freshKey();
      let [inside, entered, lastToken] = [0, 0, -1n];
      const visit = async (store: LockStore, n: number): Promise<void> => {
        const admission = n % 2 === 0 ? { admission: FAIR } : {};
        const grant = await take(store, key, { waitTimeMs: 20_000, ...admission });
        expect((inside += 1), 'inside at the same time').toBe(1);
        expect(grant.fencingToken! > lastToken, 'a greater token').toBe(true);
        lastToken = grant.fencingToken!;
        await tick();
        inside -= 1;
        entered += 1;
        expect(await store.release(grant)).toBe('released');
      };
      await Promise.all(
        stores.flatMap((store) => Array.from({ length: 10 }, (_, n) => visit(store, n))),
      );
      expect(entered).toBe(40);
    },
  },
];
