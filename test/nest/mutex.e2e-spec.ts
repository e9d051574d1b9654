import {
  DistributedLockService,
  LockConfigurationError,
  LockKeyError,
  LockLostError,
  LockNotHeldError,
  LockStoreUnavailableError,
  LockWaitTimeoutError,
} from 'nestjs-distributed-lock';
import { expect, it } from 'vitest';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';
import { redisLocks } from './redis-locks.js';
import { Occupancy, startApp } from './support.js';

describeWith('redis')('locks.mutex() over Redis', () => {
  /** Two applications that share their locks, as two servers do. */
  async function twoServers() {
    const module = redisLocks({ waitTime: '5s' });
    const apps = await Promise.all([
      startApp({ imports: [module] }),
      startApp({ imports: [module] }),
    ]);
    return apps.map((app) => app.get(DistributedLockService)) as [
      DistributedLockService,
      DistributedLockService,
    ];
  }

  it('acquires, tells that it holds, releases; another server waits until then', async () => {
    const [here, there] = await twoServers();
    const [mine, theirs] = [here.mutex('job1', { waitTime: '3s' }), there.mutex('job1')];
    expect(mine.isHeld()).toBe(false);
    const hold = await mine.acquire();
    expect(mine.isHeld()).toBe(true);
    expect(theirs.isHeld()).toBe(false);
    expect(hold.fencingToken).not.toBeNull();
    expect(await theirs.tryAcquire()).toBeNull();
    const waiting = theirs.acquire();
    await mine.release();
    expect(mine.isHeld()).toBe(false);
    await waiting;
    expect(theirs.isHeld()).toBe(true);
    await theirs.release();
    expect(await mine.tryAcquire(), 'free again').not.toBeNull();
  });

  it('a release by who does not hold it is refused and frees nobody', async () => {
    const [here, there] = await twoServers();
    const [mine, theirs, another] = [
      here.mutex('job1'),
      there.mutex('job1'),
      here.mutex('job1'), // of the same process: another holder all the same
    ];
    await mine.acquire();
    for (const stranger of [theirs, another]) {
      const refused = stranger.release();
      await expect(refused).rejects.toBeInstanceOf(LockNotHeldError);
      await expect(refused).rejects.toThrow(
        'Lock "job1" is not held by this mutex: it was not acquired, or was released already.',
      );
    }
    expect(await theirs.tryAcquire(), 'still held').toBeNull();
    expect(mine.isHeld()).toBe(true);
    await mine.release();
    await expect(mine.release(), 'the second time').rejects.toMatchObject({
      code: 'LOCK_NOT_HELD',
      methodRan: false,
      committed: false,
    });
    expect(await theirs.tryAcquire()).not.toBeNull();
  });

  it('a second acquire on the same object waits like any other, and gives up after the wait time', async () => {
    const [here] = await twoServers();
    const mutex = here.mutex('job1', { waitTime: 60 });
    await mutex.acquire();
    await expect(mutex.acquire()).rejects.toBeInstanceOf(LockWaitTimeoutError);
    expect(mutex.isHeld()).toBe(true);
  });

  it('says at the release that it was lost', async () => {
    const [here, there] = await twoServers();
    const mutex = here.mutex('job1', { leaseTime: 100, renew: false });
    const hold = await mutex.acquire();
    await until('the lease is over', () => hold.lost.aborted);
    expect(mutex.isHeld()).toBe(false);
    await there.mutex('job1').acquire();
    await expect(mutex.release()).rejects.toBeInstanceOf(LockLostError);
    await expect(mutex.release()).rejects.toBeInstanceOf(LockNotHeldError);
  });

  it('runs exclusively over both servers, and releases on every path', async () => {
    const servers = await twoServers();
    const occupancy = new Occupancy();
    const error = new Error('business');
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const mutex = servers[n % 2]!.mutex('job1');
        const run = mutex.runExclusive(async (hold) => {
          hold.assertHeld();
          expect(mutex.isHeld()).toBe(true);
          await occupancy.visit();
          if (n % 3 === 0) throw error;
          return n;
        });
        const expected = n % 3 === 0 ? error : n;
        expect(await run.catch((thrown: unknown) => thrown)).toBe(expected);
        expect(mutex.isHeld()).toBe(false);
      }),
    );
    expect(occupancy).toMatchObject({ total: 20, highest: 1 });
  });

  it('control: the same section without the mutex is entered by several at a time', async () => {
    const occupancy = new Occupancy();
    await Promise.all(Array.from({ length: 20 }, () => occupancy.visit()));
    expect(occupancy.highest).toBeGreaterThan(1);
  });

  it('refuses bad options and keys when it is made; a store that is away rejects, it is not "busy"', async () => {
    const [here] = await twoServers();
    expect(() => here.mutex('')).toThrow(LockKeyError);
    expect(() => here.mutex('a', { ttl: 1 } as never)).toThrow(
      /"DistributedLockService.mutex: ttl" is not known/,
    );
    expect(() => here.mutex('a', { waitTime: 'soon' })).toThrow(LockConfigurationError);
    const module = redisLocks({ connectOnBoot: false, store: await unreachable() });
    const app = await startApp({ imports: [module] });
    const mutex = app.get(DistributedLockService).mutex('a');
    await expect(mutex.tryAcquire()).rejects.toBeInstanceOf(LockStoreUnavailableError);
  });
});

async function unreachable() {
  const { redisStore } = await import('nestjs-distributed-lock/redis');
  return redisStore({ connection: 'redis://127.0.0.1:1', commandTimeout: 50 });
}
