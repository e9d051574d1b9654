import { randomUUID } from 'node:crypto';
import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { now } from '../../distributed-lock.clock.js';
import { lockKey, type LockKey } from '../../key/lock-key.js';
import type { LockStore } from '../../store/lock-store.js';
import { atMost, isGreater } from './assertions.js';
import { type Clause, freshKey, request, take, tick } from './clause.js';

/** Enters and leaves a section again and again, and fails when two are inside or a token does not grow. */
class Witness {
  entered = 0;
  #inside = 0;
  #lastToken = -1n;

  async work(store: LockStore, key: LockKey): Promise<void> {
    const grant = await take(store, key, { waitTimeMs: 20_000 });
    this.#inside += 1;
    equal(this.#inside, 1, 'holders inside at the same time');
    if (grant.fencingToken !== null) {
      isGreater(grant.fencingToken, this.#lastToken);
      this.#lastToken = grant.fencingToken;
    }
    await tick();
    this.#inside -= 1;
    this.entered += 1;
    equal(await store.release(grant), 'released');
  }
}

/** One owner at a time, under its own name, and what a release does. */
export const OWNERSHIP: readonly Clause[] = [
  {
    item: 1,
    promise:
      'a key has one owner at a time, and tokens grow in grant order, also after every store was closed',
    async check(world, traits) {
      const key = freshKey();
      const witness = new Witness();
      for (const round of [1, 2]) {
        const stores = await Promise.all(Array.from({ length: 4 }, () => world.store()));
        await Promise.all(
          stores.flatMap((store) => Array.from({ length: 25 }, () => witness.work(store, key))),
        );
        equal(witness.entered, 100 * round);
        await Promise.all(stores.map((store) => store.close()));
        if (traits.reach === 'process') return;
      }
    },
  },
  {
    item: 2,
    promise: 'a try on a held key answers null at once, to another store and to the same one',
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key);
      const startedAt = now();
      equal(await other.acquire(request(key)), null);
      equal(await holder.acquire(request(key)), null);
      atMost(now() - startedAt, 2_000, 'ms for two tries');
      equal(await holder.release(grant), 'released');
      notEqual(await other.acquire(request(key)), null, 'free after the release');
    },
  },
  {
    item: 5,
    promise: 'a second release answers not-held and does not free the next owner',
    async check(world) {
      const [first, second] = [await world.store(), await world.store()];
      const key = freshKey();
      const old = await take(first, key);
      equal(await first.release(old), 'released');
      const current = await take(second, key);
      equal(await first.release(old), 'not-held');
      equal(await first.acquire(request(key)), null, 'still held');
      equal(await second.release(current), 'released');
    },
  },
  {
    item: 5,
    promise: 'a second release does not free the next owner of the same store either',
    async check(world) {
      const store = await world.store();
      const key = freshKey();
      const old = await take(store, key);
      const waiting = take(store, key);
      equal(await store.release(old), 'released');
      const current = await waiting;
      notEqual(current.owner, old.owner);
      equal(await store.release(old), 'not-held');
      equal(await store.acquire(request(key)), null, 'still held');
      equal(await store.release(current), 'released');
    },
  },
  {
    item: 8,
    promise: 'odd keys are usable and distinct',
    async check(world) {
      const store = await world.store();
      const base = randomUUID();
      const odd = [
        '',
        ' ',
        '/',
        '/..',
        '%2F',
        '%',
        '{',
        '}',
        '{}',
        '{a}',
        '}{',
        "'",
        '"',
        ':',
        '*',
        '\\',
        '\n',
        '한글',
        '🔒',
        'A',
        'a',
      ];
      const long = 'x'.repeat(512 - base.length);
      const keys = [
        ...odd.map((text) => lockKey(base + text)),
        lockKey(base + long),
        lockKey(base + long.slice(1)),
      ];
      const grants = await Promise.all(keys.map((key) => store.acquire(request(key))));
      deepEqual(
        grants.map((grant) => grant?.key),
        keys,
      );
      for (const grant of grants) equal(await store.release(grant!), 'released');
    },
  },
];
