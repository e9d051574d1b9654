import { Injectable } from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import {
  assertLocked,
  currentHold,
  DistributedLock,
  DistributedLockService,
  LockLostError,
  LockNotHeldError,
} from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { expect, it } from 'vitest';
import { ReportJob } from '../../src/example/jobs/report.job.js';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';
import { redisLocks } from './redis-locks.js';
import { NotedTransactions, startApp } from './support.js';

describeWith('redis')('a scheduled job over Redis', () => {
  it('is registered by @Cron, and runs once, whichever servers come to its tick', async () => {
    const locks = redisLocks();
    const apps = await Promise.all(
      [0, 1, 2].map(() =>
        startApp({ imports: [ScheduleModule.forRoot(), locks], providers: [ReportJob] }),
      ),
    );
    for (const app of apps) expect(app.get(SchedulerRegistry).getCronJobs().size).toBe(1);
    const jobs = apps.map((app) => app.get(ReportJob));
    // Twice: `holdAtLeast` covers the servers whose clocks are behind.
    for (let round = 0; round < 2; round += 1) {
      const { errors } = await raceTogether(3, (server) => jobs[server]!.nightly());
      expect(errors).toEqual([]);
    }
    expect(jobs.flatMap(({ sent }) => sent)).toEqual([1, 2, 3]);
  });

  it('that is held for too long is rolled back and told; the next run enters', async () => {
    @Injectable()
    class Stuck {
      lost: unknown = null;

      @DistributedLock('stuck', { leaseTime: '10s', holdAtMost: 150 })
      async run(): Promise<void> {
        const { lost } = currentHold()!;
        await new Promise((resolve) => lost.addEventListener('abort', resolve));
        this.lost = lost.reason;
      }
    }
    const transactions = new NotedTransactions();
    const app = await startApp({ imports: [redisLocks({ transactions })], providers: [Stuck] });
    const error = await app
      .get(Stuck)
      .run()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LockLostError);
    expect(error).toMatchObject({ reason: 'held-too-long' });
    expect(app.get(Stuck).lost).toMatchObject({ reason: 'held-too-long' });
    expect(transactions.notes).toEqual(['START default', 'ROLLBACK']);
    const next = await app.get(DistributedLockService).acquire('stuck', { waitTime: '1s' });
    expect(await next.release()).toBe('released');
  });

  it('keeps its key closed on the server, also when the server that ran it has gone', async () => {
    const locks = redisLocks();
    const [first, second] = await Promise.all([0, 1].map(() => startApp({ imports: [locks] })));
    const since = performance.now();
    await first!
      .get(DistributedLockService)
      .withLock('job', { holdAtLeast: 600 }, async () => 'done');
    await first!.close();
    const there = second!.get(DistributedLockService);
    expect(await there.tryAcquire('job')).toBeNull();
    const hold = await there.acquire('job');
    expect(performance.now() - since).toBeGreaterThanOrEqual(598);
    expect(await hold.release()).toBe('released');
  });
});

describeWith('redis')('assertLocked()', () => {
  @Injectable()
  class Jobs {
    @DistributedLock({ key: () => ['a', 'b'] })
    async locked(key?: string): Promise<string> {
      await new Promise((resolve) => setImmediate(resolve));
      return this.body(key);
    }

    body(key?: string): string {
      assertLocked(key);
      return 'ran';
    }
  }

  it('passes inside the hold, of any of its keys, and throws outside or for another key', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Jobs] });
    const [jobs, locks] = [app.get(Jobs), app.get(DistributedLockService)];
    expect(await jobs.locked()).toBe('ran');
    expect(await jobs.locked('b')).toBe('ran');
    await expect(jobs.locked('c')).rejects.toThrow(LockNotHeldError);
    expect(() => jobs.body()).toThrow(
      'A lock is not held: this code runs outside every locked method that would hold it.',
    );
    const nested = locks.withLock('outer', () => jobs.locked('outer'));
    expect(await nested, 'a hold further out counts').toBe('ran');
    await using held = await locks.acquire('a');
    expect(held.isHeld()).toBe(true);
    expect(() => jobs.body('a'), 'held by somebody, but not around this code').toThrow(
      LockNotHeldError,
    );
  });

  it('throws what became of the hold when it was lost', async () => {
    const app = await startApp({ imports: [redisLocks()] });
    const locks = app.get(DistributedLockService);
    const run = locks.withLock('a', { leaseTime: 100, renew: false }, async (hold) => {
      await until('the lease is over', () => hold.lost.aborted);
      assertLocked('a');
    });
    await expect(run).rejects.toBeInstanceOf(LockLostError);
  });
});
