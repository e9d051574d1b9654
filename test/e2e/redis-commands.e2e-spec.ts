import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { Admission } from 'nestjs-distributed-lock';
import { freshKey, take } from '../contract/lock-store.contract.js';
import { BrokenRedis } from '../fault/broken-redis.js';
import { type Section, bootLockWorkers } from '../fault/locking-workers.js';
import type { Hold, Managed } from '../lock/managed.js';
import { overlaps } from '../support/history.js';
import type { WorkerPool } from '../support/processes.js';
import { until } from '../support/until.js';

const ofScripts =
  /^cmdstat_(get|set|del|pttl|pexpire|zadd|zrem|zpopmin|zscore|zrange|zcard|zremrangebyscore|publish|time)$/;
const ofTheTest = /^cmdstat_(info|monitor|config\|resetstat)$/;

/** Commands that clients have sent since `reset`. Those that only scripts call are left out: none of ours is ever sent alone. */
async function sent({ world }: BrokenRedis): Promise<number> {
  const stats = await world.client.info('commandstats');
  return stats
    .split('\r\n')
    .map((line) => /^(cmdstat_[^:]+):calls=(\d+)/.exec(line))
    .filter((it) => it !== null && !ofScripts.test(it[1]!) && !ofTheTest.test(it[1]!))
    .reduce((sum, it) => sum + Number(it![2]), 0);
}

const reset = ({ world }: BrokenRedis) => world.client.config('RESETSTAT');

describe.skipIf(!inject('canStartRedis'))('commands that are sent to Redis', () => {
  let redis: BrokenRedis;
  let locks: Managed;

  beforeAll(async () => {
    redis = await BrokenRedis.start();
    locks = await redis.direct();
    await (await locks.enter('warm-up')).release(); // scripts are sent as text once per connection
  });
  beforeEach(() => reset(redis));
  afterAll(() => redis?.stop());

  it('are 2 for an uncontended lock, and none of them is hidden from this count', async () => {
    const monitor = await redis.world.client.monitor();
    const seen: string[] = [];
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      if (source !== 'lua') seen.push(args[0]!.toLowerCase());
    });
    for (let n = 0; n < 50; n += 1) await (await locks.enter(freshKey())).release();
    const counted = await sent(redis);
    await until('the monitor', () => seen.includes('info'));
    monitor.disconnect();
    expect(counted).toBe(100);
    expect(seen.filter((it) => it !== 'info')).toEqual(Array(100).fill('evalsha'));
  });

  it.each([
    ['1', 'together', 8, 1],
    // 8, 8, 16, 32, 36: as many as are unanswered, at most 64, since a script stops the server for everybody else.
    ['5', 'in halves, so that the server takes one while the other is being asked for', 100, 5],
  ])(
    'are %s for locks that are asked for in one turn of the event loop, %s: %i locks',
    async (_text, _how, count, calls) => {
      const entering = Array.from({ length: count }, () => locks.enter(freshKey()));
      const holds = await Promise.all(entering);
      expect(await sent(redis)).toBe(calls);
      expect(new Set(holds.map((hold) => hold.fencingToken)).size).toBe(count);
      expect(await redis.calls('set'), 'a key each, and a fence for all').toBe(count + calls);
      const released = await Promise.all(holds.map((hold) => hold.release()));
      expect(await sent(redis)).toBe(2 * calls);
      expect(new Set(released)).toEqual(new Set(['released']));
      expect(await redis.leftovers()).toEqual([]);
    },
  );

  it('are 1 for a release and what follows it in the same turn: the next holder of that key is served after it', async () => {
    const key = freshKey();
    const hold = await locks.enter(key);
    await reset(redis);
    const release = hold.release();
    const next = locks.enter(key);
    const other = locks.enter(freshKey());
    expect(await release).toBe('released');
    expect((await next).fencingToken! > hold.fencingToken!).toBe(true);
    expect(await sent(redis)).toBe(1);
    await Promise.all([next, other].map(async (it) => (await it).release()));
  });

  it('are 1 per cycle where the next lock does not wait for the last release (awaitRelease: false)', async () => {
    const key = freshKey();
    const cycle = (awaitRelease: boolean) =>
      locks.called(key, async () => undefined, { awaitRelease });
    for (let n = 0; n < 20; n += 1) await cycle(false);
    await until('the last release', async () => (await redis.calls('del')) === 20);
    expect(await redis.calls('evalsha'), 'the first, 19 with a release, the last release').toBe(21);
    await reset(redis);
    for (let n = 0; n < 20; n += 1) await cycle(true);
    expect(await redis.calls('evalsha'), 'control').toBe(40);
  });

  it('are 2 for an uncontended lock that polls', async () => {
    const polling = await redis.direct({ wake: 'poll' });
    await (await polling.enter('warm-up')).release();
    await reset(redis);
    for (let n = 0; n < 50; n += 1) await (await polling.enter(freshKey())).release();
    expect(await sent(redis)).toBe(100);
  });

  it('are 2 for an uncontended place in the line, of each kind', async () => {
    const store = await redis.world.store();
    const admissions: readonly Admission[] = [
      { mode: 'exclusive', fair: true },
      { mode: 'shared', fair: false },
      { mode: 'permit', permits: 3, fair: false },
    ];
    // Scripts are sent as text once per connection.
    for (const round of ['warm-up', 'counted']) {
      await reset(redis);
      for (const admission of admissions)
        await store.release(await take(store, freshKey(round), { admission, waitTimeMs: 0 }));
    }
    expect(await sent(redis)).toBe(2 * admissions.length);
  });

  it('are 3 for a place that waited: asked, confirmed, left; however many wait', async () => {
    const store = await redis.world.store();
    const key = freshKey();
    const admission = { mode: 'exclusive', fair: true } as const;
    const first = await take(store, key, { admission });
    await store.renew([{ grant: first, leaseTimeMs: 10_000 }]); // the text of that script, too
    await reset(redis);
    const callers = Array.from({ length: 30 }, async () =>
      store.release(await take(store, key, { admission, waitTimeMs: 20_000 })),
    );
    await store.release(first);
    await Promise.all(callers);
    // A caller whose claim lasted longer than 200 ms on a slow machine looks once more.
    expect(await sent(redis)).toBeLessThanOrEqual(3 * 30 + 1 + 5);
  });

  it('are 0 for re-entry', async () => {
    await locks.locked(freshKey('outer'), async (outer) => {
      await reset(redis);
      await Promise.all(
        Array.from({ length: 20 }, () =>
          locks.locked(outer.key, () => locks.locked(outer.key, async () => undefined)),
        ),
      );
      expect(await sent(redis)).toBe(0);
    });
    expect(await sent(redis), 'the release').toBe(1);
  });

  it('are few for callers of one process, each with a greater token', async () => {
    const key = freshKey();
    let last = 0n;
    const callers = Array.from({ length: 64 }, () =>
      locks.locked(key, async ({ fencingToken }) => {
        expect(fencingToken! > last).toBe(true);
        last = fencingToken!;
      }),
    );
    await Promise.all(callers);
    expect(await sent(redis)).toBeLessThanOrEqual(64 / 16 + 2);
  });

  it('are one renewal for all locks that are due', async () => {
    const calls = async () => (await redis.calls('evalsha')) + (await redis.calls('eval'));
    const holds = await Promise.all(
      Array.from({ length: 90 }, () => locks.enter(freshKey(), { leaseTimeMs: 600 })),
    );
    const before = await calls();
    await until('the renewal', async () => (await calls()) > before);
    expect((await calls()) - before, 'one, or two where it was looked at late').toBeLessThan(3);
    await Promise.all(holds.map((hold) => hold.release()));
  });

  // Last: what it cannot give back is told again for a while.
  it('that one of them refuses are answered for the others; each has an error of its own', async () => {
    const [mine, foreign, busy] = [freshKey(), freshKey('foreign'), freshKey('busy')];
    const holder = await (await redis.direct()).enter(busy);
    await redis.world.client.rpush(`${redis.world.namespace}:{${foreign}}:lock`, 'a list');
    await reset(redis);
    const [hold, refused, late] = await Promise.allSettled([
      locks.enter(mine),
      locks.enter(foreign),
      locks.enter(busy, { waitTimeMs: 0 }),
    ]);
    expect(await sent(redis)).toBe(1);
    expect(hold.status).toBe('fulfilled');
    expect(refused).toMatchObject({
      reason: { code: 'LOCK_CONFIGURATION', key: foreign, message: /WRONGTYPE/ },
    });
    expect(late).toMatchObject({ reason: { code: 'LOCK_WAIT_TIMEOUT', key: busy } });
    await redis.world.client.del(`${redis.world.namespace}:{${foreign}}:lock`);
    await holder.release();
    await (hold as PromiseFulfilledResult<Hold>).value.release();
  });
});

describe.skipIf(!inject('canStartRedis'))('4 processes with 16 callers each, on one key', () => {
  const [PROCESSES, CALLERS, ROUNDS] = [4, 16, 20];
  let redis: BrokenRedis;
  let pool: WorkerPool;

  beforeAll(async () => {
    redis = await BrokenRedis.start();
    pool = await bootLockWorkers(PROCESSES, {
      store: { connection: redis.redis.url },
      namespace: redis.world.namespace,
    });
  });
  afterAll(async () => {
    await pool?.stop();
    await redis?.stop();
  });

  it('need at most 3 commands per acquisition; nobody overlaps, nobody starves', async () => {
    const key = freshKey();
    await reset(redis);
    const payload = { key, callers: CALLERS, rounds: ROUNDS, waitTime: '60s' };
    const results = await pool.together<readonly Section[]>(
      pool.workers.map((_, worker) => ({ worker, command: 'contend', payload })),
    );
    const commands = await sent(redis);
    const perWorker = results.map((it) => {
      if (it.status === 'rejected') throw it.reason;
      return it.value;
    });
    const sections = perWorker
      .flatMap((own, worker) => own.map((it) => ({ ...it, worker: String(worker), key })))
      .toSorted((a, b) => a.from - b.from);

    expect(sections).toHaveLength(PROCESSES * CALLERS * ROUNDS);
    expect(overlaps(sections)).toEqual([]);
    const tokens = sections.map((it) => it.token!);
    expect(tokens.every((token, n) => n === 0 || token > tokens[n - 1]!)).toBe(true);
    expect(commands / sections.length).toBeLessThanOrEqual(3);

    const half = sections.slice(0, sections.length / 2);
    for (let worker = 0; worker < PROCESSES; worker += 1) {
      const share = half.filter((it) => it.worker === String(worker)).length / half.length;
      expect(share, `share of worker ${worker} while all compete`).toBeGreaterThan(
        0.25 / PROCESSES,
      );
    }
    const tookMs = sections.at(-1)!.to - sections[0]!.from;
    for (const { waitedMs } of sections) expect(waitedMs).toBeLessThan(tookMs / 2);
    await redis.untilNothingIsLeft(key);
  });
});

describe.skipIf(!inject('canStartRedis'))(
  '200 callers that wait for 20 keys, in 2 processes',
  () => {
    const [KEYS, STORES, CALLERS_PER_KEY] = [20, 2, 5];
    const LOOK_MS = 1_000;
    let redis: BrokenRedis;

    beforeAll(async () => {
      redis = await BrokenRedis.start();
    });
    afterAll(() => redis?.stop());

    async function commandsPerSecond(wake: 'push' | 'poll'): Promise<number> {
      const holder = await redis.direct();
      const stores = await Promise.all(
        Array.from({ length: STORES }, () => redis.direct({ wake, safetyLook: LOOK_MS })),
      );
      const keys = Array.from({ length: KEYS }, (_, n) => freshKey(`${wake}-${n}`));
      const holds = await Promise.all(
        keys.map((key) => holder.enter(key, { leaseTimeMs: 60_000 })),
      );
      await reset(redis);
      const entering = stores.flatMap((store) =>
        keys.flatMap((key) =>
          Array.from({ length: CALLERS_PER_KEY }, () =>
            store.enter(key, { waitTimeMs: 60_000 }).then((hold) => hold.release()),
          ),
        ),
      );
      await until(
        'every process to have asked for every key',
        async () => (await sent(redis)) >= KEYS * STORES,
      );
      await reset(redis);
      const from = performance.now();
      await until('the end of the measurement', () => performance.now() - from > 2_000);
      const perSecond = (await sent(redis)) / ((performance.now() - from) / 1_000);
      await Promise.all(holds.map((hold) => hold.release()));
      await Promise.all(entering);
      await redis.untilNothingIsLeft();
      return perSecond;
    }

    it('cause one look per key, process and safety time, however many callers they are', async () => {
      // Of 2 s that are measured, up to 2 looks of each fall in; and each process checks its inbox once per look.
      expect(await commandsPerSecond('push')).toBeLessThanOrEqual(
        ((KEYS * STORES + STORES) / (LOOK_MS / 1_000)) * 1.2,
      );
    });

    it('control: callers that poll cause more', async () => {
      expect(await commandsPerSecond('poll')).toBeGreaterThan(
        ((KEYS * STORES + STORES) / (LOOK_MS / 1_000)) * 1.2,
      );
    });
  },
);
