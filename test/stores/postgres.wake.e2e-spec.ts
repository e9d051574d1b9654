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
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { AcquireRequest, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { PostgresLink } from '../../src/distributed-lock/store/postgres/postgres.link.js';
import { SHARE, TAKE } from '../../src/distributed-lock/store/postgres/postgres.statements.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { advisoryLocks, PostgresWorld } from '../contract/postgres-world.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const server = inject('databaseUrl');

const ALONE: Partial<AcquireRequest> = {};
const SHARED: Partial<AcquireRequest> = { admission: { mode: 'shared', fair: false } };

const PATIENT = { waitTimeMs: 10_000 };

/** What a notification names, and no answer: see `channelOf`. */
const CHANNEL = 'distributed_lock_';

describe.skipIf(server === null)('postgresStore, the line of a session', () => {
  let database: OwnDatabase;
  let world: PostgresWorld;
  let proxy: TcpProxy;
  beforeAll(async () => {
    database = await createDatabase(server!, 'postgres_wake');
  });
  beforeEach(async () => {
    // Nobody looks by itself: whoever is served was woken.
    world = new PostgresWorld(database.url, { safetyLook: '1m', sessionTimeout: '60s' });
    proxy = await TcpProxy.forUrl(database.url);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await proxy.pass();
    await world.close();
    await proxy.close();
  });
  afterAll(() => database.drop());

  /**
   * The waiter asks; before it hears that the key is busy, the key is freed.
   *
   * @returns what the waiter got, and how often it looked: it was handed the answer and the wake-up in one piece.
   */
  async function freeBeforeTheAnswer(
    holder: LockStore,
    key: LockKey,
    modes: { inside: Partial<AcquireRequest>; waiting: Partial<AcquireRequest> },
  ) {
    const waiter = await world.store(proxy.url(database.url));
    const inside = await take(holder, key, modes.inside);
    const takes = vi.spyOn(PostgresLink.prototype, 'take');
    const shares = vi.spyOn(PostgresLink.prototype, 'share');
    proxy.blackhole('to-client');
    const waiting = waiter.acquire(request(key, { ...modes.waiting, ...PATIENT }));
    // The lock, a mark, and the gate or the mark of those who wait to share.
    await until('the marks', async () => (await advisoryLocks(database.url)) === 3);
    expect(await holder.release(inside)).toBe('released');
    await until('the wake-up', () => proxy.holdsBack(CHANNEL));
    await proxy.pass();
    const grant = await waiting;
    return { waiter, grant, looks: takes.mock.calls.length + shares.mock.calls.length };
  }

  it.each([
    { what: 'a caller', inside: ALONE, waiting: ALONE },
    { what: 'a reader behind a writer', inside: ALONE, waiting: SHARED },
    { what: 'a writer behind a reader', inside: SHARED, waiting: ALONE },
  ])('a wake-up that comes with the answer reaches $what', async (modes) => {
    const holder = await world.store();
    const { waiter, grant, looks } = await freeBeforeTheAnswer(holder, freshKey(), modes);
    expect(grant, 'served').not.toBeNull();
    expect(looks, 'one that finds it busy, one that takes it').toBe(2);
    expect(await waiter.release(grant!)).toBe('released');
    expect(await advisoryLocks(database.url)).toBe(0);
  });

  it('a wake-up that comes with the answer reaches callers of several keys that asked in one statement', async () => {
    const [holder, waiter] = [await world.store(), await world.store(proxy.url(database.url))];
    const held = await Promise.all(['a', 'b', 'c'].map((name) => take(holder, freshKey(name))));
    proxy.blackhole('to-client');
    const waiting = Promise.all(held.map(({ key }) => take(waiter, key, PATIENT)));
    await until('the marks', async () => (await advisoryLocks(database.url)) === 3 * 3);
    for (const grant of held) await holder.release(grant);
    await until('the wake-up', () => proxy.holdsBack(CHANNEL));
    await proxy.pass();
    for (const grant of await waiting) expect(await waiter.release(grant)).toBe('released');
  });

  it.each([
    { what: 'a writer', fails: TAKE, failing: ALONE, other: SHARED },
    { what: 'readers', fails: SHARE, failing: SHARED, other: ALONE },
  ])('$what whose statements fail are in the way of nobody', async ({ fails, failing, other }) => {
    let failures = 0;
    const connection = (): Client => {
      const client = new Client({ connectionString: database.url });
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
      return Object.assign(client, {
        query: async (...given: unknown[]) => {
          const answer = await query(...given);
          if (given[0] !== fails) return answer;
          failures += 1;
          throw new Error('out of shared memory');
        },
      });
    };
    const store = postgresStore({ connection, safetyLook: '1m' });
    await store.open(world.namespace, 5_000);
    const [key, abort] = [freshKey(), new AbortController()];
    const inVain = store.acquire(request(key, { ...failing, ...PATIENT, signal: abort.signal }));
    await until('a failure', () => failures > 0);
    expect(await store.release(await take(store, key, { ...other, ...PATIENT }))).toBe('released');
    abort.abort(new Error('gone'));
    await expect(inVain).rejects.toThrow('gone');
    await store.close();
    expect(await advisoryLocks(database.url)).toBe(0);
  });
});
