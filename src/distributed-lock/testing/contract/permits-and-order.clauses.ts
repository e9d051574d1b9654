import { deepEqual, equal } from 'node:assert/strict';
import { now } from '../../distributed-lock.clock.js';
import type { LockStore } from '../../store/lock-store.js';
import { atMost, isGreater } from './assertions.js';
import { type Clause, freshKey, openStores, request, take, tick, untilOr } from './clause.js';
import { FAIR, permit } from './admissions.js';

/** For stores that offer `permits` and `fair`. */
export const PERMITS_AND_ORDER: readonly Clause[] = [
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
        equal(await store.release(grant), 'released');
      };
      await Promise.all(stores.flatMap((store) => Array.from({ length: 8 }, () => visit(store))));
      equal(entered, 32);
      equal(most, 3);
      const held = await Promise.all(
        stores.slice(1).map((it) => take(it, key, { admission: permit(3) })),
      );
      equal(await stores[0]!.acquire(request(key, { admission: permit(3) })), null, 'full');
      equal(await stores[0]!.acquire(request(key)), null, 'not exclusively either');
      deepEqual(
        held.map(({ fencingToken }) => fencingToken),
        [null, null, null],
      );
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
      atMost(old.validUntil, now(), 'validUntil of the evicted holder');
      deepEqual(await crashed!.renew([{ grant: old, leaseTimeMs: 10_000 }]), [false]);
      equal(await crashed!.release(old), 'not-held');
      equal(await crashed!.acquire(request(key, { admission: permit(2) })), null, 'full');
      equal(await waiting!.release(next), 'released');
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
            isGreater(grant.fencingToken, lastToken);
            lastToken = grant.fencingToken!;
            await store.release(grant);
          }),
        );
        // Commands of one store about one key keep their order: once this one is answered, the caller stands in the line.
        equal(await store.acquire(request(key, { admission: FAIR })), null);
      }
      await stores[0]!.release(first);
      await Promise.all(waiters);
      deepEqual(
        served,
        Array.from({ length: 12 }, (_, n) => n),
      );
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
        equal((inside += 1), 1, 'inside at the same time');
        isGreater(grant.fencingToken, lastToken);
        lastToken = grant.fencingToken!;
        await tick();
        inside -= 1;
        entered += 1;
        equal(await store.release(grant), 'released');
      };
      await Promise.all(
        stores.flatMap((store) => Array.from({ length: 10 }, (_, n) => visit(store, n))),
      );
      equal(entered, 40);
    },
  },
];
