import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  inject,
  it,
  vi,
} from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { AcquireRequest, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { clientFactory } from '../../src/distributed-lock/store/postgres/postgres.connection.js';
import { PostgresLink } from '../../src/distributed-lock/store/postgres/postgres.link.js';
import { postgresStoreWith } from '../../src/distributed-lock/store/postgres/postgres.lock-store.js';
import { SHARE } from '../../src/distributed-lock/store/postgres/postgres.statements.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { advisoryLocks, PostgresWorld } from '../contract/postgres-world.js';
import { failureOf } from '../lock/managed.js';
import { startWorkers } from '../support/processes.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const server = inject('databaseUrl');

const SHARED: Partial<AcquireRequest> = { admission: { mode: 'shared', fair: false } };

describe.skipIf(server === null)('postgresStore, shared callers', () => {
  let database: OwnDatabase;
  let world: PostgresWorld;
  beforeAll(async () => {
    database = await createDatabase(server!, 'postgres_shared_callers');
  });
  beforeEach(() => {
    world = new PostgresWorld(database.url);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await world.close();
  });
  afterAll(() => database.drop());

  const locks = () => advisoryLocks(database.url);

  /** Who waits has a mark at the server; beside it the gate, or, to share, a second mark. */
  const waiting = (marks: number) =>
    until(`${marks} locks and marks`, async () => (await locks()) === marks);

  it('of one process hold the lock once, and those who come at the same time ask once', async () => {
    const store = await world.store();
    const key = freshKey();
    const asked = vi.spyOn(PostgresLink.prototype, 'share');
    const grants = await Promise.all(Array.from({ length: 100 }, () => take(store, key, SHARED)));
    expect(asked.mock.calls.length).toBeLessThanOrEqual(2);
    expect(await locks()).toBe(1);
    for (const grant of grants.slice(1)) expect(await store.release(grant)).toBe('released');
    expect(await locks(), 'one is left').toBe(1);
    expect(await store.release(grants[0]!)).toBe('released');
    expect(await locks()).toBe(0);
  });

  it('leave no lock, mark or gate behind, whatever they did', async () => {
    const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
    const key = freshKey();
    const inside = await take(one, key, SHARED);
    const abort = new AbortController();
    const writers = [two, three].map((store) =>
      failureOf(store.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal }))),
    );
    await waiting(4); // one share, two marks, one gate: the second writer leaves that to the first
    const later = [one, two, three].map((store) =>
      store.acquire(request(key, { ...SHARED, waitTimeMs: 100 })),
    );
    expect(await Promise.all(later), 'behind the writers').toEqual([null, null, null]);
    abort.abort(new Error('gone'));
    await Promise.all(writers);
    await waiting(1);
    expect(await one.release(inside)).toBe('released');
    expect(await locks()).toBe(0);
  });

  it('are woken when a writer that kept them out gives up', async () => {
    world = new PostgresWorld(database.url, { safetyLook: '1m' });
    const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
    const key = freshKey();
    const inside = await take(one, key, SHARED);
    const abort = new AbortController();
    const writer = failureOf(
      two.acquire(request(key, { waitTimeMs: 60_000, signal: abort.signal })),
    );
    await waiting(3);
    const behind = take(three, key, SHARED);
    await waiting(5); // and the mark and the share mark of the reader
    abort.abort(new Error('gone'));
    await writer;
    await three.release(await behind);
    await one.release(inside);
  });

  describe('a stream of them', () => {
    /** Two readers of each of two processes, each leaving when another has come in: the key is never free by itself. */
    async function stream(stores: readonly LockStore[], key: LockKey) {
      const state = { entries: 0, isOver: false };
      const readers = stores.flatMap((store) =>
        [1, 2].map(async () => {
          while (!state.isOver) {
            const grant = await take(store, key, { ...SHARED, waitTimeMs: 20_000 });
            const mine = (state.entries += 1);
            const leaveAt = now() + 30;
            while (state.entries === mine && now() < leaveAt) await pause(1);
            await store.release(grant);
          }
        }),
      );
      await until('the stream', () => state.entries > 10);
      return async () => {
        state.isOver = true;
        await Promise.all(readers);
      };
    }

    it('lets a writer in, of another process and of its own', async () => {
      const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
      const key = freshKey();
      const end = await stream([one, two], key);
      for (const store of [three, one]) {
        const startedAt = now();
        await store.release(await take(store, key));
        expect(now() - startedAt).toBeLessThan(1_000);
      }
      await end();
    });

    it('control: a writer that does not close the gate waits in vain', async () => {
      const { take: original } = PostgresLink.prototype;
      vi.spyOn(PostgresLink.prototype, 'take').mockImplementation(async function (
        this: PostgresLink,
        rows,
      ) {
        const outcomes = await original.call(
          this,
          rows.map((row) => ({ ...row, gated: true })),
        );
        return outcomes.map((outcome) => ({ ...outcome, gated: false }));
      });
      const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
      const key = freshKey();
      const end = await stream([one, two], key);
      expect(await three.acquire(request(key, { waitTimeMs: 1_000 }))).toBeNull();
      await end();
    });
  });

  describe('beside crowds of writers', () => {
    async function crowd(stores: readonly LockStore[], key: LockKey) {
      const state = { entries: 0, isOver: false };
      const writers = stores.flatMap((store) =>
        [1, 2, 3].map(async () => {
          while (!state.isOver) {
            const grant = await take(store, key, { waitTimeMs: 20_000 });
            state.entries += 1;
            await pause(2);
            await store.release(grant);
          }
        }),
      );
      await until('the crowd', () => state.entries > 10);
      return async () => {
        state.isOver = true;
        await Promise.all(writers);
      };
    }

    it('of two other processes, and of its own, a reader is served', async () => {
      const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
      const key = freshKey();
      const end = await crowd([one, two], key);
      for (const store of [three, one, three, two, three, three])
        await store.release(await take(store, key, SHARED));
      await end();
      expect(await locks()).toBe(0);
    });

    it('a reader goes between them; control: hardly ever where writers close the gate before it', async () => {
      const [one, two, three] = await Promise.all([world.store(), world.store(), world.store()]);
      const key = freshKey();
      const end = await crowd([one, two], key);
      const visits = async () => {
        const endAt = now() + 1_500;
        let count = 0;
        while (now() < endAt) {
          const grant = await three.acquire(request(key, { ...SHARED, waitTimeMs: 1_500 }));
          if (!grant) continue;
          count += 1;
          await three.release(grant);
        }
        return count;
      };
      const polite = await visits();
      const { take: original } = PostgresLink.prototype;
      vi.spyOn(PostgresLink.prototype, 'take').mockImplementation(function (
        this: PostgresLink,
        rows,
      ) {
        const impolite = rows.map((row) => ({ ...row, polite: false }));
        return original.call(this, impolite);
      });
      expect(polite).toBeGreaterThan(2 * (await visits()));
      await end();
    });
  });

  it('of one process: a writer of it is not overtaken, and does not overtake', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const key = freshKey();
    const first = await take(store, key, SHARED);
    const served: string[] = [];
    const visit = async (name: string, admission: Partial<AcquireRequest>) => {
      const grant = await take(store, key, admission);
      served.push(name);
      await pause(1);
      await store.release(grant);
    };
    const writer = visit('writer', {});
    await waiting(3);
    expect(await store.acquire(request(key, SHARED)), 'a try').toBeNull();
    expect(await other.acquire(request(key, SHARED)), 'a try of another process').toBeNull();
    const readers = [1, 2, 3].map((n) => visit(`reader ${n}`, SHARED));
    await pause(0);
    const last = visit('last writer', {});
    expect(served).toEqual([]);
    await store.release(first);
    await Promise.all([writer, ...readers, last]);
    expect(served[0]).toBe('writer');
    expect(served).toHaveLength(5);
    expect(await locks()).toBe(0);
  });

  it('whose session ends are told, and a writer enters; they come again with the next session', async () => {
    const proxy = await TcpProxy.forUrl(database.url);
    const store = await world.store(proxy.url(database.url), { sessionTimeout: '1s' });
    const other = await world.store();
    const key = freshKey();
    const grants = await Promise.all([1, 2].map(() => take(store, key, SHARED)));
    const lost = grants.map((it) => new Promise((resolve) => (it.onLost = resolve)));
    expect(grants[0]!.validUntil).toBeLessThanOrEqual(now() + 1_000);
    const writer = take(other, key);
    proxy.blackhole();
    expect(await Promise.all(lost)).toEqual(['session-ended', 'session-ended']);
    expect(grants[0]!.validUntil).toBeLessThanOrEqual(now());
    const alone = await writer;
    await proxy.pass();
    expect(await store.release(grants[0]!)).toBe('not-held');
    const again = take(store, key, { ...SHARED, waitTimeMs: 10_000 });
    expect(await other.release(alone)).toBe('released');
    await store.release(await again);
    await proxy.close();
  });

  it('outlive their lease time while the session lives, and are renewed with it', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const grant = await take(store, freshKey(), { ...SHARED, leaseTimeMs: 50 });
    await pause(120);
    expect(grant.validUntil).toBeGreaterThan(now());
    expect(await store.renew([{ grant, leaseTimeMs: 50 }])).toEqual([true]);
    expect(await other.acquire(request(grant.key))).toBeNull();
    expect(await store.release(grant)).toBe('released');
    expect(await store.renew([{ grant, leaseTimeMs: 50 }])).toEqual([false]);
  });

  it('abandoned, keep writers out for the lease and no longer', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const grant = await take(store, freshKey(), { ...SHARED, leaseTimeMs: 300 });
    store.abandon(grant);
    const abandonedAt = now();
    const alone = await take(other, grant.key);
    expect(now() - abandonedAt).toBeGreaterThan(280);
    expect(await other.release(alone)).toBe('released');
  });

  it('an error after the server has let them in leaves nothing shared, and spares the other holds', async () => {
    let [armed, failed] = [false, false];
    const connection = (): Client => {
      const client = new Client({ connectionString: database.url });
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
      return Object.assign(client, {
        query: async (...given: unknown[]) => {
          const answer = await query(...given);
          if (given[0] !== SHARE || !armed || failed) return answer;
          failed = true;
          throw new Error('out of shared memory');
        },
      });
    };
    const store = postgresStore({ connection });
    await store.open(world.namespace, 5_000);
    const kept = await take(store, freshKey('kept'), SHARED);
    armed = true;
    const key = freshKey();
    await expect(store.acquire(request(key, SHARED))).rejects.toThrow(/out of shared memory/);
    expect(failed).toBe(true);
    expect(await locks()).toBe(1);
    await store.release(await take(store, key, SHARED));
    expect(await store.release(kept)).toBe('released');
    expect(await locks()).toBe(0);
    await store.close();
  });

  it('of a process that is killed are out at once', async () => {
    const pool = await startWorkers({ script: 'store-worker.mjs', count: 1 });
    const worker = pool.workers[0]!;
    const { namespace } = world;
    const key = freshKey();
    const options = { connection: database.url };
    await worker.call('open', { kind: 'postgres', options, namespace });
    await worker.call('take', { namespace, key, ...SHARED });
    const other = await world.store();
    expect(await other.acquire(request(key)), 'shared by the worker').toBeNull();
    const writer = take(other, key);
    process.kill(worker.pid, 'SIGKILL');
    await other.release(await writer);
    await pool.stop();
  });

  it('under keys that share one number: together, and never beside a writer', async () => {
    const settings = {
      newClient: clientFactory(database.url),
      sessionTimeoutMs: 10_000,
      push: true,
      sequence: 'distributed_lock_token',
      createSequence: true,
      sessionPooler: false,
      idOf: () => ({ lock: '-4711', wait: '4712' }),
    };
    const [one, two] = [postgresStoreWith(settings, 500), postgresStoreWith(settings, 500)];
    for (const store of [one, two]) await store.open(world.namespace, 5_000);
    const [a, b] = [freshKey('a'), freshKey('b')];
    const [first, second] = await Promise.all([take(one, a, SHARED), take(one, b, SHARED)]);
    expect(await one.acquire(request(b)), 'same process').toBeNull();
    expect(await two.acquire(request(a)), 'another process').toBeNull();
    const writer = take(one, b);
    expect(await one.release(first)).toBe('released');
    expect(await one.acquire(request(a, SHARED)), 'a writer waits').toBeNull();
    expect(await one.release(second)).toBe('released');
    const alone = await writer;
    expect(await one.acquire(request(a, SHARED))).toBeNull();
    expect(await two.acquire(request(a, SHARED))).toBeNull();
    expect(await one.release(alone)).toBe('released');
    await two.release(await take(two, a, SHARED));
    for (const store of [one, two]) await store.close();
    expect(await locks()).toBe(0);
  });
});
