import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import { atLeast, atMost, isGreater } from './assertions.js';
import { type Clause, freshKey, request, take } from './clause.js';

const KEEP_MS = 300;

/** How long a grant lasts, and a key that is kept closed. */
export const LEASES: readonly Clause[] = [
  {
    item: 10,
    promise: 'a renewed lease outlives its lease time',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const leaseTimeMs = 800;
      const grant = await take(holder, key, { leaseTimeMs });
      for (let n = 0; n < 5; n += 1) {
        await pause(200);
        deepEqual(await holder.renew([{ grant, leaseTimeMs }]), [true]);
        atLeast(grant.validUntil, now() + leaseTimeMs / 4, 'validUntil after a renewal');
      }
      equal(await other.acquire(request(key)), null);
      equal(await holder.release(grant), 'released');
    },
  },
  {
    item: 10,
    promise: 'a renewal never shortens a lease',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key, { leaseTimeMs: 5_000 });
      const { validUntil } = grant;
      deepEqual(await holder.renew([{ grant, leaseTimeMs: 100 }]), [true]);
      equal(grant.validUntil, validUntil);
      await pause(200);
      equal(await other.acquire(request(key)), null, 'still held');
    },
  },
  {
    item: 11,
    promise:
      'a lease that is not renewed ends: its holder knows no later than its successor enters',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [evicted, successor] = [await world.store(), await world.store()];
      const key = freshKey();
      const old = await take(evicted, key, { leaseTimeMs: 200 });
      const current = await take(successor, key);
      atMost(old.validUntil, now(), 'validUntil of the evicted holder');
      if (current.fencingToken !== null) isGreater(current.fencingToken, old.fencingToken!);
      deepEqual(await evicted.renew([{ grant: old, leaseTimeMs: 10_000 }]), [false]);
      equal(await evicted.release(old), 'not-held');
      equal(await evicted.acquire(request(key)), null, 'the successor is untouched');
      equal(await successor.release(current), 'released');
    },
  },
  {
    item: 11,
    promise: 'a renewal never brings back a lease that has ended',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key, { leaseTimeMs: 100 });
      await pause(150);
      deepEqual(await holder.renew([{ grant, leaseTimeMs: 10_000 }]), [false]);
      notEqual(await other.acquire(request(key)), null, 'the key is free');
    },
  },
  {
    item: 11,
    promise: 'an abandoned grant keeps the key closed until its lease is over, and then only',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key, { leaseTimeMs: 400 });
      holder.abandon(grant);
      equal(await holder.acquire(request(key)), null, 'not even its own store');
      equal(await other.acquire(request(key)), null);
      const startedAt = now();
      await other.release(await take(other, key));
      atLeast(now() - startedAt, 200, 'ms until the abandoned key was free');
    },
  },
  {
    item: 28,
    promise:
      'a released key that is kept stays closed for that long, and not longer; also for the process that released it; also after it ended where keeps = server',
    async check(world, traits) {
      const [holder, other] = [await world.store(), await world.store()];
      const [key, second] = [freshKey(), freshKey()];
      const grant = await take(holder, key);
      const keptSince = now();
      const entered = [other, holder].map(async (store) => {
        const next = await take(store, key);
        const after = now() - keptSince;
        if (next.fencingToken !== null) isGreater(next.fencingToken, grant.fencingToken!);
        equal(await store.release(next), 'released');
        return after;
      });
      equal(await holder.release(grant, KEEP_MS), 'released');
      equal(await holder.acquire(request(key)), null, 'not even its own store');
      equal(await other.acquire(request(key)), null);
      equal(await holder.release(grant), 'not-held', 'already released');
      const first = Math.min(...(await Promise.all(entered)));
      atLeast(first, KEEP_MS - 2, 'ms for which the key was kept');
      // Far less than the lease, and than the look that covers a lost wake-up.
      atMost(first, KEEP_MS + 2_500, 'ms for which the key was kept');

      const ending = await take(holder, second);
      const endedSince = now();
      equal(await holder.release(ending, KEEP_MS), 'released');
      await holder.close();
      await other.release(await take(other, second));
      if (traits.keeps === 'server')
        atLeast(
          now() - endedSince,
          KEEP_MS - 2,
          'ms for which the key was kept after the end of its store',
        );
    },
  },
];
