import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startWorkers, type WorkerPool } from '../support/processes.js';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';

/** How far the clocks of the servers are off, in milliseconds: less than `holdAtLeast` (750 ms). */
const SKEWS = [0, 100, -100];

interface Run {
  readonly worker: number;
  readonly job: string;
  readonly at: number;
  readonly detail: { readonly tick: number; readonly phase?: string; readonly reason?: string };
}

describeWith('redis')('jobs of @nestjs/schedule on three servers whose clocks differ', () => {
  let pool: WorkerPool;

  const runsOf = (job: string): readonly Run[] =>
    pool.workers
      .flatMap(({ events }, worker) =>
        events
          .filter(({ name }) => name === job)
          .map(({ at, detail }) => ({ worker, job, at, detail: detail as Run['detail'] })),
      )
      .toSorted((a, b) => a.at - b.at);

  /** How often a job ran in each tick of its schedule, whichever server ran it. */
  const perTick = (job: string): ReadonlyMap<number, number> => {
    const counts = new Map<number, number>();
    for (const { detail } of runsOf(job))
      counts.set(detail.tick, (counts.get(detail.tick) ?? 0) + 1);
    return counts;
  };

  beforeAll(async () => {
    pool = await startWorkers({
      script: 'job-worker.mjs',
      count: SKEWS.length,
      env: { SKEWS: SKEWS.join(',') },
    });
    const options = { redisUrl: redisUrl(), namespace: `t-${randomUUID().slice(0, 8)}` };
    await Promise.all(pool.workers.map((worker) => worker.call('boot', options)));
  });
  afterAll(() => pool.kill());

  it('@Cron: exactly one run per tick; @Interval: one per holdAtLeast', async () => {
    /** Ticks that every server has come to: the job without a lock ran on all three. */
    const complete = () => [...perTick('unlocked')].filter(([, runs]) => runs === 3);
    await until('five ticks', () => complete().length >= 5, { deadlineMs: 40_000 });
    const ticks = complete()
      .slice(0, -1)
      .map(([tick]) => tick);

    const locked = perTick('locked');
    expect(ticks.map((tick) => [tick, locked.get(tick)])).toEqual(ticks.map((tick) => [tick, 1]));

    // Control: the lock alone excludes, but it is free again when the next clock comes to the tick.
    const unkept = perTick('unkept');
    expect(Math.max(...ticks.map((tick) => unkept.get(tick) ?? 0))).toBeGreaterThan(1);

    const intervals = runsOf('interval');
    expect(intervals.length).toBeGreaterThanOrEqual(3);
    const gaps = intervals.slice(1).map(({ at }, n) => at - intervals[n]!.at);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(890);
    expect(pool.workers.flatMap(({ events }) => events.map(({ name }) => name))).not.toContain(
      'unhandledRejection',
    );
  });

  it('is given up after holdAtMost by a runner that is alive but stuck, and taken over', async () => {
    const ended = () => runsOf('stuck').filter(({ detail }) => detail.phase === 'ended');
    const started = () => runsOf('stuck').filter(({ detail }) => detail.phase === 'started');
    await until('two runs after each other', () => ended().length > 0 && started().length > 1);
    expect(new Set(ended().map(({ detail }) => detail.reason))).toEqual(new Set(['held-too-long']));
    const [first, second] = started();
    expect(second!.at - first!.at).toBeGreaterThanOrEqual(695);
  });

  it('is taken over when its runner is killed, as soon as the lease is over', async () => {
    const [first] = runsOf('killed');
    expect(runsOf('killed'), 'control: while it lives, nobody takes over').toHaveLength(1);
    const killedAt = Number(process.hrtime.bigint()) / 1e6;
    await pool.worker(first!.worker).kill();
    await until('another runner', () => runsOf('killed').length > 1);
    const [, second] = runsOf('killed');
    expect(second!.worker).not.toBe(first!.worker);
    expect(second!.detail.phase).toBe('started');
    // Neither while the lease lasts (at least two thirds of it are left) nor long after it.
    expect(second!.at - killedAt).toBeGreaterThan(250);
    expect(second!.at - killedAt).toBeLessThan(500 + 1_500);
  });
});
