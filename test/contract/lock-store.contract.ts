import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockClosedError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { lockKey, type LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockStore, Offer, StoreTraits } from '../../src/distributed-lock/store/lock-store.js';
import { ADMISSION } from './admission.clauses.js';
import { type Clause, freshKey, request, type StoreWorld, take } from './clause.js';

export { type Clause, freshKey, request, type StoreWorld, take } from './clause.js';

/** Far above the longest pause of a store that polls, and far below a lease. */
const HAND_OFF_MS = 1_500;
const KEEP_MS = 300;

/** Enters and leaves a section again and again, and fails when two are inside or a token does not grow. */
class Witness {
  entered = 0;
  #inside = 0;
  #lastToken = -1n;

  async work(store: LockStore, key: LockKey): Promise<void> {
    const grant = await take(store, key, { waitTimeMs: 20_000 });
    this.#inside += 1;
    expect(this.#inside, 'holders inside at the same time').toBe(1);
    if (grant.fencingToken !== null) {
      expect(
        grant.fencingToken > this.#lastToken,
        `token ${grant.fencingToken} after ${this.#lastToken}`,
      ).toBe(true);
      this.#lastToken = grant.fencingToken;
    }
    await new Promise(setImmediate);
    this.#inside -= 1;
    this.entered += 1;
    expect(await store.release(grant)).toBe('released');
  }
}

export const CONTRACT: readonly Clause[] = [
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
        expect(witness.entered).toBe(100 * round);
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
      expect(await other.acquire(request(key))).toBeNull();
      expect(await holder.acquire(request(key))).toBeNull();
      expect(now() - startedAt).toBeLessThan(2_000);
      expect(await holder.release(grant)).toBe('released');
      expect(await other.acquire(request(key)), 'free after the release').not.toBeNull();
    },
  },
  {
    item: 3,
    promise: 'a waiter gives up after its wait time and leaves nothing behind',
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key);
      const startedAt = now();
      expect(await other.acquire(request(key, { waitTimeMs: 150 }))).toBeNull();
      expect(now() - startedAt).toBeGreaterThanOrEqual(149);
      await holder.release(grant);
      // Had the waiter left a place in a queue, the key would now be kept for it.
      expect(await holder.acquire(request(key)), 'the next try').not.toBeNull();
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
      await expect(aborted).rejects.toBe(reason);
      await holder.release(grant);
      await other.release(await later);
      await expect(other.acquire(request(key, { signal: abort.signal }))).rejects.toBe(reason);
    },
  },
  {
    item: 5,
    promise: 'a second release answers not-held and does not free the next owner',
    async check(world) {
      const [first, second] = [await world.store(), await world.store()];
      const key = freshKey();
      const old = await take(first, key);
      expect(await first.release(old)).toBe('released');
      const current = await take(second, key);
      expect(await first.release(old)).toBe('not-held');
      expect(await first.acquire(request(key)), 'still held').toBeNull();
      expect(await second.release(current)).toBe('released');
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
      expect(await store.release(old)).toBe('released');
      const current = await waiting;
      expect(current.owner).not.toBe(old.owner);
      expect(await store.release(old)).toBe('not-held');
      expect(await store.acquire(request(key)), 'still held').toBeNull();
      expect(await store.release(current)).toBe('released');
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
        expect(now() - releasedAt, 'from the release to the next holder').toBeLessThan(HAND_OFF_MS);
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
        await world.queued!(n + 1);
      }
      await stores[0]!.release(first);
      await Promise.all(waiting);
      expect(served).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
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
      expect(grants.map((grant) => grant?.key)).toEqual(keys);
      for (const grant of grants) expect(await store.release(grant!)).toBe('released');
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
        expect(await store.release(await take(store, free, { waitTimeMs: 0 }))).toBe('released');
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
      expect(grants.map((grant) => grant.key)).toEqual(keys);
      await Promise.all(grants.map((grant) => store.release(grant)));
    },
  },
  {
    item: 10,
    promise: 'a renewed lease outlives its lease time',
    onlyFor: { ownership: 'lease' },
    async check(world) {
      const [holder, other] = [await world.store(), await world.store()];
      const key = freshKey();
      const grant = await take(holder, key, { leaseTimeMs: 300 });
      for (let n = 0; n < 5; n += 1) {
        await pause(120);
        expect(await holder.renew([{ grant, leaseTimeMs: 300 }])).toEqual([true]);
        expect(grant.validUntil).toBeGreaterThan(now() + 150);
      }
      expect(await other.acquire(request(key))).toBeNull();
      expect(await holder.release(grant)).toBe('released');
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
      expect(await holder.renew([{ grant, leaseTimeMs: 100 }])).toEqual([true]);
      expect(grant.validUntil).toBe(validUntil);
      await pause(200);
      expect(await other.acquire(request(key)), 'still held').toBeNull();
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
      expect(old.validUntil, 'the evicted holder still believes in it').toBeLessThanOrEqual(now());
      if (current.fencingToken !== null)
        expect(current.fencingToken > old.fencingToken!).toBe(true);
      expect(await evicted.renew([{ grant: old, leaseTimeMs: 10_000 }])).toEqual([false]);
      expect(await evicted.release(old)).toBe('not-held');
      expect(await evicted.acquire(request(key)), 'the successor is untouched').toBeNull();
      expect(await successor.release(current)).toBe('released');
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
      expect(await holder.renew([{ grant, leaseTimeMs: 10_000 }])).toEqual([false]);
      expect(await other.acquire(request(key)), 'the key is free').not.toBeNull();
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
      expect(await holder.acquire(request(key)), 'not even its own store').toBeNull();
      expect(await other.acquire(request(key))).toBeNull();
      const startedAt = now();
      await other.release(await take(other, key));
      expect(now() - startedAt).toBeGreaterThan(200);
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
        if (next.fencingToken !== null) expect(next.fencingToken > grant.fencingToken!).toBe(true);
        expect(await store.release(next)).toBe('released');
        return after;
      });
      expect(await holder.release(grant, KEEP_MS)).toBe('released');
      expect(await holder.acquire(request(key)), 'not even its own store').toBeNull();
      expect(await other.acquire(request(key))).toBeNull();
      expect(await holder.release(grant), 'already released').toBe('not-held');
      const first = Math.min(...(await Promise.all(entered)));
      expect(first).toBeGreaterThanOrEqual(KEEP_MS - 2);
      // Far less than the lease, and than the look that covers a lost wake-up.
      expect(first).toBeLessThan(KEEP_MS + 2_500);

      const ending = await take(holder, second);
      const endedSince = now();
      expect(await holder.release(ending, KEEP_MS)).toBe('released');
      await holder.close();
      await other.release(await take(other, second));
      if (traits.keeps === 'server') expect(now() - endedSince).toBeGreaterThanOrEqual(KEEP_MS - 2);
    },
  },
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
      expect(await store.release(held)).toBe('released');
      expect(await store.release(await waiting)).toBe('released');
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
      await expect(waiting).rejects.toBeInstanceOf(LockClosedError);
      await expect(store.acquire(request(freshKey()))).rejects.toBeInstanceOf(LockClosedError);
      expect(await store.release(grant)).toBe('released');
      let reason: string | undefined;
      kept.onLost = (why) => (reason = why);
      await store.close();
      expect(reason).toBe('closed');
      expect(await other.acquire(request(second)), 'freed by close').not.toBeNull();
    },
  },
  ...ADMISSION,
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
        if (fencing === 'none') expect(grant.fencingToken).toBeNull();
        else expect(grant.fencingToken! > last, `${grant.fencingToken} after ${last}`).toBe(true);
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
      expect(grant.validUntil).toBeGreaterThan(now());
      expect(await other.acquire(request(grant.key))).toBeNull();
      expect(await holder.release(grant)).toBe('released');
    },
  },
];

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
      expect(grant.fencingToken > lastToken!).toBe(true);
      lastToken = grant.fencingToken;
    }
    await store.release(grant);
  });
  await store.release(first);
  await Promise.all(waiters);
  expect(served).toEqual(Array.from({ length: 50 }, (_, n) => n));
}

export function appliesTo(clause: Clause, traits: StoreTraits): boolean {
  return Object.entries(clause.onlyFor ?? {}).every(([trait, value]) => {
    if (Array.isArray(value)) return value.every((offer: Offer) => traits.offers.includes(offer));
    return traits[trait as keyof StoreTraits] === value;
  });
}

/** As the table at the end of a run shows it: number and promise. */
export function titleOf({ item, promise }: { item: number; promise: string }): string {
  return `${item} ${promise}`;
}

/** Declares a test per clause that the store's traits promise. */
export function describeLockStore(
  name: string,
  open: () => Promise<StoreWorld>,
  traits: StoreTraits,
): void {
  describe(`contract: ${name}`, () => {
    it.each(
      CONTRACT.filter((clause) => appliesTo(clause, traits)).map(
        (clause) => [titleOf(clause), clause] as const,
      ),
    )('%s', async (_title, clause) => {
      const world = await open();
      try {
        await clause.check(world, traits);
      } finally {
        await world.close();
      }
    });
  });
}
