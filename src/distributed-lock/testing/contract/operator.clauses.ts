import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import type { LockGrant, LockStore } from '../../store/lock-store.js';
import { FAIR, permit, SHARED } from './admissions.js';
import { atLeast, isGreater } from './assertions.js';
import { type Clause, freshKey, openStores, request, take } from './clause.js';
import {
  endWhileWaiting,
  holdersOf,
  LEASE_MS,
  LONG,
  lossOf,
  shows,
  untilTold,
} from './operator.checks.js';

/** What an operator sees and does: for stores whose traits `showsHolders` and `forceRelease` are not `none`. */
export const OPERATORS: readonly Clause[] = [
  {
    item: 14,
    promise: 'stateOf shows who holds a key, to every store, and nobody once it is released',
    exceptFor: { showsHolders: 'none' },
    async check(world, traits) {
      const [holder, other] = await openStores(world, 2);
      const key = freshKey();
      deepEqual(await holdersOf(other!, key), [], 'never used');
      let lastToken = -1n;
      for (const store of [holder!, other!, holder!]) {
        const grant = await take(store, key, { leaseTimeMs: LEASE_MS });
        for (const looking of [holder!, other!]) {
          const shown = await holdersOf(looking, key);
          equal(shown.length, 1, 'holders shown');
          shows(shown[0]!, grant, traits);
          const { fencingToken } = shown[0]!;
          if (fencingToken !== null) isGreater(fencingToken, lastToken);
        }
        lastToken = grant.fencingToken ?? lastToken;
        equal(await store.release(grant), 'released');
        deepEqual(await holdersOf(other!, key), [], 'released');
      }
    },
  },
  {
    item: 14,
    promise: 'stateOf counts at least those who wait, where the store can tell',
    exceptFor: { showsHolders: 'none' },
    async check(world) {
      const [holder, other] = await openStores(world, 2);
      const key = freshKey();
      const grant = await take(holder!, key);
      const waiting = [holder!, other!].map(async (store) =>
        store.release(await take(store, key, LONG)),
      );
      const countedBy = async (store: LockStore): Promise<number | null> =>
        (await store.stateOf!(key)).waiters;
      const end = now() + 5_000;
      let counts = await Promise.all([holder!, other!].map(countedBy));
      while (counts.some((count) => count !== null && count < 1) && now() < end) {
        await pause(2);
        counts = await Promise.all([holder!, other!].map(countedBy));
      }
      for (const count of counts) if (count !== null) atLeast(count, 1, 'waiters');
      await holder!.release(grant);
      await Promise.all(waiting);
      for (const count of await Promise.all([holder!, other!].map(countedBy)))
        if (count !== null) equal(count, 0, 'waiters in the end');
    },
  },
  {
    item: 14,
    promise:
      'a force release ends a hold: its holder is told, the waiter enters with a greater token, the old release frees nobody',
    exceptFor: { forceRelease: 'none' },
    async check(world) {
      await endWhileWaiting(await openStores(world, 3), {}, {});
    },
  },
  {
    item: 14,
    promise:
      'a force release tells a holder of the same store before it answers, lets its next caller in, and ends no other hold of that store',
    exceptFor: { forceRelease: 'none' },
    async check(world) {
      const store = await world.store();
      const key = freshKey();
      const kept = await take(store, freshKey(), LONG);
      const old = await take(store, key, LONG);
      const loss = lossOf(old);
      const waiting = take(store, key, LONG);
      equal(await store.forceRelease!(key), 1, 'holds ended');
      equal(loss.reason, 'taken-over', 'what the holder was told');
      const next = await waiting;
      if (next.fencingToken !== null) isGreater(next.fencingToken, old.fencingToken!);
      equal(await store.release(old), 'not-held');
      equal(await store.acquire(request(key)), null, 'held by the next one');
      deepEqual(await store.renew([{ grant: kept, leaseTimeMs: LEASE_MS }]), [true], 'another key');
      equal(await store.release(next), 'released');
      equal(await store.release(kept), 'released');
    },
  },
  {
    item: 14,
    promise: 'a force release ends the holds of its key, and no other hold of their processes',
    onlyFor: { forceRelease: 'hold' },
    async check(world) {
      const [holder, operator] = await openStores(world, 2);
      const kept = await take(holder!, freshKey(), LONG);
      const old = await take(holder!, freshKey(), LONG);
      const [loss, ofOld] = [lossOf(kept), lossOf(old)];
      equal(await operator!.forceRelease!(old.key), 1, 'holds ended');
      await untilTold(holder!, old, ofOld);
      deepEqual(await holder!.renew([{ grant: kept, leaseTimeMs: LEASE_MS }]), [true]);
      equal(loss.reason, undefined, 'what the other holder was told');
      equal(await holder!.release(kept), 'released');
    },
  },
  {
    item: 14,
    promise: 'a force release of a key that nobody holds ends nothing, and hinders nobody',
    exceptFor: { forceRelease: 'none' },
    async check(world) {
      const [store, operator] = await openStores(world, 2);
      const key = freshKey();
      equal(await operator!.forceRelease!(key), 0, 'never used');
      const grant = await take(store!, key);
      equal(await store!.release(grant), 'released');
      equal(await operator!.forceRelease!(key), 0, 'released');
      equal(await store!.release(await take(store!, key)), 'released');
    },
  },
  {
    item: 14,
    promise: 'a force release opens a key that is kept closed',
    onlyFor: { keeps: 'server' },
    exceptFor: { forceRelease: 'none', showsHolders: 'none' },
    async check(world) {
      const [store, operator] = await openStores(world, 2);
      const key = freshKey();
      equal(await store!.release(await take(store!, key), 60_000), 'released');
      const { holders, keptForMs } = await operator!.stateOf!(key);
      deepEqual(holders, [], 'nobody holds it');
      atLeast(keptForMs ?? 0, 30_000, 'ms for which it is kept');
      equal(await operator!.acquire(request(key)), null, 'control: it is closed');
      equal(await operator!.forceRelease!(key), 0, 'holds ended');
      const grant = await operator!.acquire(request(key));
      notEqual(grant, null, 'open');
      equal(await operator!.release(grant!), 'released');
    },
  },
  {
    item: 14,
    promise: 'shared holders are all shown, and all ended by force before an exclusive one enters',
    onlyFor: { offers: ['shared'] },
    exceptFor: { forceRelease: 'none', showsHolders: 'none' },
    async check(world) {
      const [one, two, waiting, operator] = await openStores(world, 4);
      const key = freshKey();
      const readers = [one!, two!];
      const grants = await Promise.all(
        readers.map((store) => take(store, key, { ...LONG, admission: SHARED })),
      );
      const shown = await holdersOf(operator!, key);
      deepEqual(
        shown.map(({ mode, fencingToken }) => ({ mode, fencingToken })),
        grants.map(() => ({ mode: 'shared', fencingToken: null })),
      );
      const losses = grants.map(lossOf);
      const writer = take(waiting!, key, LONG);
      equal(await operator!.forceRelease!(key), 2, 'holds ended');
      const current = await writer;
      for (const [n, grant] of grants.entries()) {
        await untilTold(readers[n]!, grant, losses[n]!);
        equal(await readers[n]!.release(grant), 'not-held');
      }
      equal(await operator!.acquire(request(key, { admission: SHARED })), null, 'by the writer');
      equal(await waiting!.release(current), 'released');
      const later = await take(one!, key, { ...LONG, admission: SHARED });
      equal(await one!.release(later), 'released');
    },
  },
  {
    item: 14,
    promise: 'permits are all shown, and all ended by force; as many are free again',
    onlyFor: { offers: ['permits'] },
    exceptFor: { forceRelease: 'none', showsHolders: 'none' },
    async check(world) {
      const [holding, waiting, operator] = await openStores(world, 3);
      const key = freshKey();
      const admission = permit(2);
      const takeTwo = (store: LockStore): Promise<LockGrant[]> =>
        Promise.all([1, 2].map(() => take(store, key, { ...LONG, admission })));
      const old = await takeTwo(holding!);
      const losses = old.map(lossOf);
      const shown = await holdersOf(operator!, key);
      deepEqual(
        shown.map(({ owner }) => owner).toSorted(),
        old.map(({ owner }) => owner).toSorted(),
      );
      equal(shown[0]!.mode, 'permit');
      const entering = takeTwo(waiting!);
      equal(await operator!.forceRelease!(key), 2, 'holds ended');
      const next = await entering;
      for (const [n, grant] of old.entries()) {
        await untilTold(holding!, grant, losses[n]!);
        equal(await holding!.release(grant), 'not-held');
      }
      equal(await operator!.acquire(request(key, { admission })), null, 'full');
      for (const grant of next) equal(await waiting!.release(grant), 'released');
    },
  },
  {
    item: 14,
    promise: 'a hold in order of arrival is ended by force, and lets others in, as any other',
    onlyFor: { offers: ['fair'] },
    exceptFor: { forceRelease: 'none' },
    async check(world) {
      const stores = await openStores(world, 3);
      const fair = { admission: FAIR };
      await endWhileWaiting(stores, fair, fair);
      await endWhileWaiting(stores, fair, {});
      await endWhileWaiting(stores, {}, fair);
    },
  },
];
