import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { freshKey } from '../contract/lock-store.contract.js';
import { failureOf, type Managed } from '../lock/managed.js';
import { settlesWithin, until } from '../support/until.js';
import { BrokenRedis, contend } from './broken-redis.js';

const COMMAND_TIMEOUT_MS = 500;
const ARGS = [
  '--enable-debug-command',
  'yes',
  '--enable-protected-configs',
  'yes',
  '--loading-process-events-interval-bytes',
  '1024',
  '--busy-reply-threshold',
  '20',
];

/** Each makes the server refuse to carry locks, and gives it back. */
interface Trouble {
  readonly name: string;
  readonly detail: RegExp;
  begin(broken: BrokenRedis): Promise<unknown>;
  end(broken: BrokenRedis): Promise<unknown>;
}

const config = (name: string, value: string) => (broken: BrokenRedis) =>
  broken.world.client.config('SET', name, value);

let directory = '';

const TROUBLES: readonly Trouble[] = [
  {
    name: 'is demoted to a replica (READONLY)',
    detail: /READONLY|MASTERDOWN/,
    begin: ({ world }) => world.client.replicaof('127.0.0.1', 1),
    end: ({ world }) => world.client.replicaof('NO', 'ONE'),
  },
  {
    name: 'is out of memory (OOM)',
    detail: /OOM/,
    begin: config('maxmemory', '1'),
    end: config('maxmemory', '0'),
  },
  {
    name: 'has too few replicas (NOREPLICAS)',
    detail: /NOREPLICAS/,
    begin: config('min-replicas-to-write', '1'),
    end: config('min-replicas-to-write', '0'),
  },
  {
    name: 'cannot save (MISCONF)',
    detail: /MISCONF/,
    async begin({ world: { client } }) {
      await client.config('SET', 'save', '3600 1', 'dir', '/proc'); // nobody can write there
      await client.bgsave();
      await until('the save to fail', async () =>
        (await client.info('persistence')).includes('rdb_last_bgsave_status:err'),
      );
    },
    end: ({ world }) => world.client.config('SET', 'save', '', 'dir', directory),
  },
  {
    name: 'is busy with a script that does not end (BUSY)',
    detail: /BUSY|no answer/,
    async begin({ redis, world }) {
      const { Redis } = await import('ioredis');
      const blocker = new Redis(redis.url);
      blocker.on('error', () => undefined);
      const ended = blocker.eval('while true do end', 0).catch(() => undefined);
      void ended.then(() => blocker.disconnect());
      await until('the script to be noticed', () =>
        world.client.ping().then(
          () => false,
          (error: Error) => error.message.startsWith('BUSY'),
        ),
      );
    },
    end: ({ world }) => world.client.call('SCRIPT', 'KILL'),
  },
];

function isUnavailable(error: unknown, key: string): void {
  expect(error).toBeInstanceOf(LockStoreUnavailableError);
  expect(error).toMatchObject({ key, methodRan: false, committed: false, retryable: true });
}

describe.skipIf(!inject('canStartRedis'))('a Redis in trouble', () => {
  let broken: BrokenRedis;
  let locks: Managed;
  let other: Managed;

  beforeAll(async () => {
    broken = await BrokenRedis.start({ commandTimeout: COMMAND_TIMEOUT_MS }, { args: ARGS });
    [locks, other] = [await broken.direct(), await broken.direct()];
    [, directory] = (await broken.world.client.config('GET', 'dir')) as [string, string];
  });
  afterAll(() => broken?.stop());

  describe.each(TROUBLES)('that $name', ({ detail, begin, end }) => {
    it('is told apart from a busy lock, within the wait time; afterwards waiters are served', async () => {
      const key = freshKey('trouble');
      await (await locks.enter(key)).release(); // control: it works before
      await begin(broken);
      const asking = Promise.all([
        failureOf(locks.enter(key, { waitTimeMs: 0 })),
        failureOf(other.enter(key, { waitTimeMs: 300 })),
      ]);
      expect(await settlesWithin(300 + COMMAND_TIMEOUT_MS, asking)).toBe(true);
      for (const error of await asking) isUnavailable(error, key);
      // Of a call whose time was too short for an answer, or that met its connection closed, the detail says that.
      await until('a caller to be told why', async () => {
        const error = await failureOf(other.enter(key, { waitTimeMs: 300 }));
        isUnavailable(error, key);
        return detail.test((error as LockStoreUnavailableError).detail);
      });
      const waiting = [locks, other].map((it) => it.enter(key, { waitTimeMs: 20_000 }));
      await end(broken);
      // Not release(): the answers of a demoted master may be followed by a grant on the connection that is being left because of
      // them. Then the release is told on the next one, and the other waiter is served after that.
      await Promise.all(waiting.map((it) => it.then((hold) => hold.end())));
      await contend([locks, other], key, 5);
      await broken.untilNothingIsLeft(key);
    });
  });

  it('renews and releases what is held under OOM, and "busy" stays the answer for others', async () => {
    const key = freshKey('oom');
    const hold = await locks.enter(key);
    await broken.world.client.config('SET', 'maxmemory', '1');
    try {
      await hold.renew('10s');
      const busy = await failureOf(other.enter(key, { waitTimeMs: 150 }));
      expect(busy).toMatchObject({ code: 'LOCK_WAIT_TIMEOUT' });
      expect(await hold.release()).toBe('released');
    } finally {
      await broken.world.client.config('SET', 'maxmemory', '0');
    }
    await contend([locks, other], key, 5, hold.fencingToken);
    await broken.untilNothingIsLeft(key);
  });

  it('keeps a hold through a short demotion', async () => {
    const key = freshKey('demotion');
    const hold = await locks.enter(key, { leaseTimeMs: 3_000 });
    await broken.world.client.replicaof('127.0.0.1', 1);
    // Longer than what is left: a renewal that need not write succeeds on a replica, too.
    await expect(hold.renew('10s')).rejects.toBeInstanceOf(LockStoreUnavailableError);
    await broken.world.client.replicaof('NO', 'ONE');
    await until('a renewal', () =>
      hold.renew().then(
        () => true,
        () => false,
      ),
    );
    expect(hold.isHeld()).toBe(true);
    expect(await hold.release()).toBe('released');
    await broken.untilNothingIsLeft(key);
  });

  it('that forgot its scripts is asked with their text again', async () => {
    const key = freshKey('scripts');
    const hold = await locks.enter(key);
    await broken.world.client.script('FLUSH');
    await hold.renew();
    expect(await hold.release()).toBe('released');
    await contend([locks, other], key, 5, hold.fencingToken);
  });

  it('that loads its data (LOADING) is unavailable, and its locks are held when it is back', async () => {
    const { client } = broken.world;
    const key = freshKey('loading');
    const hold = await locks.enter(key, { leaseTimeMs: 20_000 });
    await client.call('DEBUG', 'POPULATE', '4000');
    await client.config('SET', 'key-load-delay', '200');
    const reloaded = client.call('DEBUG', 'RELOAD');
    const error = await failureOf(other.enter(freshKey(), { waitTimeMs: 0 }));
    expect((error as LockStoreUnavailableError).detail).toMatch(/LOADING|no answer/);
    await reloaded;
    await hold.renew();
    expect(await failureOf(other.enter(key, { waitTimeMs: 0 }))).toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
    });
    expect(await hold.release()).toBe('released');
  });
});

describe.skipIf(!inject('canStartRedis')).each(['push', 'poll'] as const)(
  "a Redis that dies and comes back empty, waiters woken by '%s'",
  (wake) => {
    let broken: BrokenRedis;
    let holder: Managed;
    let waiter: Managed;

    beforeAll(async () => {
      broken = await BrokenRedis.start({ commandTimeout: 500, wake });
      [holder, waiter] = [await broken.direct(), await broken.direct()];
    });
    afterAll(() => broken?.stop());

    it('fails calls within their wait time while it is down, and serves them afterwards', async () => {
      const key = freshKey('down');
      const before = await holder.enter(key);
      await before.release();
      await broken.redis.kill();
      for (const waitTimeMs of [0, 300]) {
        const startedAt = performance.now();
        const error = await failureOf(waiter.enter(key, { waitTimeMs }));
        expect(error).toBeInstanceOf(LockStoreUnavailableError);
        expect(performance.now() - startedAt).toBeLessThan(waitTimeMs + 300);
      }
      const entering = waiter.enter(key, { waitTimeMs: 20_000 });
      await broken.redis.restart();
      const hold = await entering;
      expect(hold.fencingToken! > before.fencingToken!, 'tokens grow over data loss').toBe(true);
      expect(await hold.release()).toBe('released');
      await contend([holder, waiter], key, 5, hold.fencingToken);
      await broken.untilNothingIsLeft(key);
    });

    it('lets waiters in with a greater token; the old holder learns its loss at its next renewal', async () => {
      const key = freshKey('empty');
      const old = await holder.enter(key, { leaseTimeMs: 3_000 });
      const { lost } = old;
      const entering = waiter.enter(key, { waitTimeMs: 20_000, leaseTimeMs: 20_000 });
      await broken.untilWaiting(key, wake);
      await broken.redis.restart();
      const next = await entering;
      expect(next.fencingToken! > old.fencingToken!).toBe(true);
      await until('the loss', () => lost.aborted, { deadlineMs: 3_000 / 3 + 1_000 });
      expect(lost.reason).toMatchObject({ code: 'LOCK_LOST', reason: 'taken-over' });
      expect(await old.release()).toBe('not-held');
      expect(next.isHeld()).toBe(true);
      await next.renew();
      expect(await next.release()).toBe('released');
      await broken.untilNothingIsLeft(key);
    });
  },
);
