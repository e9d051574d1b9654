import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootLockWorkers } from '../fault/locking-workers.js';
import type { WorkerPool, WorkerProcess } from '../support/processes.js';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';

const LEASE_MS = 600;

interface Happened {
  readonly worker: WorkerProcess;
  readonly name: string;
  readonly at: number;
}

describeWith('redis')('leaders in processes of their own, on Redis', () => {
  let pool: WorkerPool;
  const key = 'leader';

  beforeAll(async () => {
    const namespace = `t-${randomUUID().slice(0, 8)}`;
    pool = await bootLockWorkers(4, { store: { connection: redisUrl() }, namespace });
    await Promise.all(
      pool.workers.map((worker) => worker.call('lead', { key, leaseTime: `${LEASE_MS}ms` })),
    );
  });
  afterAll(() => pool.kill());

  /** In the order of the clock that all processes share. */
  const happened = (...names: string[]): readonly Happened[] =>
    pool.workers
      .flatMap((worker) => worker.events.map(({ name, at }) => ({ worker, name, at })))
      .filter(({ name }) => names.includes(name))
      .toSorted((a, b) => a.at - b.at);

  const election = async (count: number): Promise<Happened> => {
    await until(`election ${count}`, () => happened('elected').length >= count);
    return happened('elected')[count - 1]!;
  };

  const leaders = async (of: readonly WorkerProcess[]): Promise<readonly WorkerProcess[]> => {
    const answers = await Promise.all(of.map((worker) => worker.call<boolean>('isLeader')));
    return of.filter((_worker, index) => answers[index]);
  };

  const dead = new Set<WorkerProcess>();
  const alive = () => pool.workers.filter((worker) => !dead.has(worker));

  it('one leads; control: while it lives, nobody else does', async () => {
    const first = await election(1);
    expect(await leaders(alive())).toEqual([first.worker]);
    const since = performance.now();
    await until('two leases', () => performance.now() - since > 2 * LEASE_MS);
    expect(happened('elected', 'deposed')).toHaveLength(1);
  });

  it('kill -9: another one is elected when its lease is over, not before', async () => {
    const first = await election(1);
    const killedAt = Number(process.hrtime.bigint()) / 1e6;
    dead.add(first.worker);
    await first.worker.kill();
    const second = await election(2);
    expect(second.worker).not.toBe(first.worker);
    // At least two thirds of the lease are left at any moment.
    expect(second.at - killedAt).toBeGreaterThan(LEASE_MS / 2);
    expect(second.at - killedAt).toBeLessThan(LEASE_MS + 1_500);
    expect(await leaders(alive())).toEqual([second.worker]);
  });

  it('resigns: it is deposed before the next one is elected', async () => {
    const second = await election(2);
    await second.worker.call('resign');
    const third = await election(3);
    const [deposed] = happened('deposed').filter(({ worker }) => worker === second.worker);
    expect(deposed!.at).toBeLessThanOrEqual(third.at);
    expect(await leaders(alive())).toEqual([third.worker]);
  });

  it('frozen: its successor is elected after its lease; thawed, its first look says that it leads no more', async () => {
    const third = await election(3);
    third.worker.freeze();
    const fourth = await election(4);
    expect(fourth.worker).not.toBe(third.worker);
    const look = third.worker.call<boolean>('isLeader');
    third.worker.thaw();
    expect(await look).toBe(false);
    await until('it to be told', () =>
      third.worker.events.some(({ name }) => name === 'term-ended'),
    );
    expect(await leaders(alive())).toEqual([fourth.worker]);
  });

  it('its application closes: the next one is elected at once', async () => {
    const fourth = await election(4);
    dead.add(fourth.worker);
    await fourth.worker.call('close');
    const fifth = await election(5);
    const [deposed] = happened('deposed').filter(({ worker }) => worker === fourth.worker);
    expect(fifth.at - deposed!.at).toBeGreaterThanOrEqual(0);
    expect(fifth.at - deposed!.at, 'without waiting for the lease').toBeLessThan(LEASE_MS / 2);
    expect(await leaders(alive())).toEqual([fifth.worker]);
    expect(happened('unhandledRejection', 'leadership-failed')).toEqual([]);
  });
});
