import { deepEqual, equal, notEqual, rejects } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import { LockClosedError } from '../../distributed-lock.errors.js';
import { atLeast, isGreater } from './assertions.js';
import { type Clause, freshKey, request, take } from './clause.js';

/** The end of a store, its return, and what its traits say. */
export const LIFECYCLE: readonly Clause[] = [
  {
    item: 16,
    promise: 'a store that was closed can be opened again',
    async check(world) {
      const store = await world.store();
      const key = freshKey();
      await take(store, key);
      await store.close();
      await store.open(world.namespace, 5_000);
      const held = await take(store, key);
      const waiting = take(store, key);
      equal(await store.release(held), 'released');
      equal(await store.release(await waiting), 'released');
    },
  },
  {
    item: 16,
    promise:
      'stop turns waiters away and lets grants be released; close ends grants and tells their holders',
    async check(world) {
      const [store, other] = [await world.store(), await world.store()];
      const [key, second] = [freshKey(), freshKey()];
      const grant = await take(store, key);
      const kept = await take(store, second);
      const waiting = store.acquire(request(key, { waitTimeMs: 60_000 }));
      store.stop();
      await rejects(waiting, LockClosedError);
      await rejects(store.acquire(request(freshKey())), LockClosedError);
      equal(await store.release(grant), 'released');
      let reason: string | undefined;
      kept.onLost = (why) => (reason = why);
      await store.close();
      equal(reason, 'closed');
      notEqual(await other.acquire(request(second)), null, 'freed by close');
    },
  },
  {
    item: 30,
    promise: 'its traits are those that it is tested for',
    async check(world, traits) {
      deepEqual((await world.store()).traits, traits);
    },
  },
  {
    item: 30,
    promise: 'its traits say how tokens grow',
    async check(world, { fencing }) {
      const stores = [await world.store(), await world.store()];
      const one = freshKey();
      let last = -1n;
      for (let n = 0; n < 10; n += 1) {
        const store = stores[n % 2]!;
        const grant = await take(store, fencing === 'store-wide' ? freshKey() : one);
        if (fencing === 'none') equal(grant.fencingToken, null);
        else isGreater(grant.fencingToken, last);
        last = grant.fencingToken ?? last;
        await store.release(grant);
      }
    },
  },
  {
    item: 30,
    promise: 'a grant of a session outlives its lease time',
    onlyFor: { ownership: 'session' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const grant = await take(holder, freshKey(), { leaseTimeMs: 100 });
      await pause(200);
      atLeast(grant.validUntil, now() + 1, 'validUntil of a grant of a session');
      equal(await other.acquire(request(grant.key)), null);
      equal(await holder.release(grant), 'released');
    },
  },
];
