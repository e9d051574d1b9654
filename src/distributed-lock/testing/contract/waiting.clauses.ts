import { deepEqual, equal, notEqual, rejects } from 'node:assert/strict';
import { now } from '../../distributed-lock.clock.js';
import { atLeast, atMost, isGreater } from './assertions.js';
import { type Clause, freshKey, request, take } from './clause.js';
import type { StoreWorld } from './store-world.js';

/** Far above the longest pause of a store that polls, and far below a lease. */
const HAND_OFF_MS = 1_500;

async function servesInOrder(world: StoreWorld): Promise<void> {
  const store = await world.store();
  const key = freshKey();
  const first = await take(store, key);
  const served: number[] = [];
  let lastToken = first.fencingToken;
  const waiters = Array.from({ length: 50 }, async (_, n) => {
    const grant = await take(store, key);
    served.push(n);
    if (grant.fencingToken !== null) {
      isGreater(grant.fencingToken, lastToken!);
      lastToken = grant.fencingToken;
    }
    await store.release(grant);
  });
  await store.release(first);
  await Promise.all(waiters);
  deepEqual(
    served,
    Array.from({ length: 50 }, (_, n) => n),
  );
}

/** Who waits: how long, in which order, and in whose way. */
export const WAITING: readonly Clause[] = [
  {
    item: 3,
    promise: 'a waiter gives up after its wait time and leaves nothing behind',
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key);
      const startedAt = now();
      equal(await other.acquire(request(key, { waitTimeMs: 150 })), null);
      atLeast(now() - startedAt, 149, 'ms of waiting');
      await holder.release(grant);
      // Had the waiter left a place in a queue, or the key itself, it would be kept for it far longer; a look that was on its way is soon over.
      notEqual(await holder.acquire(request(key, { waitTimeMs: 2_000 })), null, 'the next call');
    },
  },
  {
    item: 4,
    promise:
      'an abort ends the wait at once with the reason of the signal, and later waiters are served',
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key);
      const abort = new AbortController();
      const reason = new Error('the request went away');
      const aborted = other.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal }));
      const later = take(other, key);
      abort.abort(reason);
      await rejects(aborted, (error) => error === reason);
      await holder.release(grant);
      await other.release(await later);
      await rejects(
        other.acquire(request(key, { signal: abort.signal })),
        (error) => error === reason,
      );
    },
  },
  {
    item: 6,
    promise: 'a release lets a waiter of another store in, long before its lease would have ended',
    async check(world) {
      const stores = [await world.store(), await world.store()];
      const key = freshKey();
      let grant = await take(stores[0]!, key);
      for (let n = 0; n < 6; n += 1) {
        const [from, to] = [stores[n % 2]!, stores[(n + 1) % 2]!];
        const waiting = take(to, key);
        const releasedAt = now();
        await from.release(grant);
        grant = await waiting;
        atMost(now() - releasedAt, HAND_OFF_MS, 'ms from the release to the next holder');
      }
      await stores[0]!.release(grant);
    },
  },
  {
    item: 7,
    promise: 'waiters of one store are served in order, each with a greater token',
    onlyFor: { reach: 'server' },
    check: servesInOrder,
  },
  {
    item: 7,
    promise: 'waiters are served in order, each with a greater token',
    onlyFor: { fair: 'fifo' },
    check: servesInOrder,
  },
  {
    item: 7,
    promise: 'waiters of several stores are served in the order in which they came',
    onlyFor: { fair: 'fifo', reach: 'server' },
    async check(world) {
      if (!world.queued) throw new Error('"queued" of the StoreWorld is missing');
      const stores = await Promise.all([1, 2, 3].map(() => world.store()));
      const key = freshKey();
      const first = await take(stores[0]!, key);
      const served: number[] = [];
      const waiting: Promise<unknown>[] = [];
      for (let n = 0; n < 9; n += 1) {
        // Each store has three waiters, none next to the other.
        const store = stores[n % 3]!;
        waiting.push(
          take(store, key).then((grant) => {
            served.push(n);
            return store.release(grant);
          }),
        );
        await world.queued(n + 1);
      }
      await stores[0]!.release(first);
      await Promise.all(waiting);
      deepEqual(served, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    },
  },
  {
    item: 9,
    promise: 'a waiting key delays neither other keys nor releases',
    async check(world) {
      const [holder, store] = [await world.store(), await world.store()];
      const [busy, free] = [freshKey('busy'), freshKey('free')];
      const grant = await take(holder, busy);
      const waiting = take(store, busy);
      for (let n = 0; n < 20; n += 1)
        equal(await store.release(await take(store, free, { waitTimeMs: 0 })), 'released');
      await holder.release(grant);
      await store.release(await waiting);
    },
  },
  {
    item: 15,
    promise: 'a hundred keys can be waited for at once',
    async check(world) {
      const [holder, store] = [await world.store(), await world.store()];
      const keys = Array.from({ length: 100 }, (_, n) => freshKey(`k${n}`));
      const held = await Promise.all(keys.map((key) => take(holder, key)));
      const waiting = keys.map((key) => take(store, key));
      await Promise.all(held.map((grant) => holder.release(grant)));
      const grants = await Promise.all(waiting);
      deepEqual(
        grants.map((grant) => grant.key),
        keys,
      );
      await Promise.all(grants.map((grant) => store.release(grant)));
    },
  },
];
