import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { LockAdmission } from 'nestjs-distributed-lock';
import { freshKey } from '../contract/lock-store.contract.js';
import { acquire, bootLockWorkers, type Section } from '../fault/locking-workers.js';
import { overlaps } from '../support/history.js';
import { type WorkerPool, type WorkerProcess } from '../support/processes.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { until } from '../support/until.js';

const PROCESSES = 3;
const NAMESPACE = 'modes';

interface Work {
  readonly callers: number;
  readonly rounds: number;
  readonly stayMs?: number;
  readonly options: LockAdmission;
}

/** How many sections were open at the busiest moment. */
function mostAtOnce(sections: readonly Pick<Section, 'from' | 'to'>[]): number {
  const edges = sections.flatMap(({ from, to }) => [
    { at: from, step: 1 },
    { at: to, step: -1 },
  ]);
  let [open, most] = [0, 0];
  for (const { step } of edges.toSorted((a, b) => a.at - b.at || a.step - b.step))
    most = Math.max(most, (open += step));
  return most;
}

describe.skipIf(!inject('canStartRedis'))('over 3 processes and one Redis', () => {
  let redis: OwnRedis;
  let client: Redis;
  let pool: WorkerPool;

  beforeAll(async () => {
    redis = await startRedis();
    client = new Redis(redis.url);
    const store = { connection: redis.url, safetyLook: 400 };
    pool = await bootLockWorkers(PROCESSES + 1, { store, namespace: NAMESPACE });
  });
  afterAll(async () => {
    await pool?.kill();
    client?.disconnect();
    await redis?.stop();
  });

  const workers = (): WorkerProcess[] =>
    Array.from({ length: PROCESSES }, (_, n) => pool.worker(n));

  /** The same work in every process, at the same time. */
  async function everywhere(key: string, work: Work): Promise<Section[]> {
    const payload = { key, waitTime: '30s', ...work };
    const results = await Promise.all(
      workers().map((worker) => worker.call<Section[]>('contend', payload)),
    );
    return results.flat();
  }

  async function readAndWrite(writer: LockAdmission) {
    const key = freshKey();
    const reading = { callers: 4, rounds: 5, stayMs: 10, options: { mode: 'shared' } } as const;
    const writing = { callers: 1, rounds: 5, stayMs: 3, options: writer };
    const [read, written] = await Promise.all([everywhere(key, reading), everywhere(key, writing)]);
    expect([read.length, written.length]).toEqual([60, 15]);
    const named = (worker: string) => (it: Section) => ({ worker, key, ...it });
    const all = [...read.map(named('reader')), ...written.map(named('writer'))];
    const broken = written.flatMap((mine) =>
      overlaps(all.filter((it) => it.from <= mine.to && it.to >= mine.from)).filter(
        ({ first, second }) => [first.worker, second.worker].includes('writer'),
      ),
    );
    return { read, written, broken };
  }

  it('readers are together, a writer is alone, and each writer has a greater token', async () => {
    const { read, written, broken } = await readAndWrite({});
    expect(broken).toEqual([]);
    expect(mostAtOnce(read)).toBeGreaterThan(1);
    expect(mostAtOnce(written)).toBe(1);
    expect(read.every(({ token }) => token === null)).toBe(true);
    const tokens = written.toSorted((a, b) => a.from - b.from).map(({ token }) => token!);
    expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => (a < b ? -1 : 1)));
  });

  it('control: writers that take it as readers do are not alone', async () => {
    const { broken } = await readAndWrite({ mode: 'shared' });
    expect(broken.length).toBeGreaterThan(0);
  });

  it('at most so many are inside as there are permits', async () => {
    const work = { callers: 4, rounds: 5, stayMs: 20 };
    const limited = await everywhere(freshKey(), { ...work, options: { permits: 3 } });
    expect([limited.length, mostAtOnce(limited)]).toEqual([60, 3]);
    const control = await everywhere(freshKey(), { ...work, options: { permits: 100 } });
    expect(mostAtOnce(control)).toBeGreaterThan(3);
  });

  it('the permit of a killed process is free when its lease is over', async () => {
    const [victim, next] = [pool.worker(PROCESSES), pool.worker(0)];
    const key = freshKey();
    const options = { permits: 1, leaseTime: '500ms' };
    await acquire(victim, key, options);
    // Control: as long as it lives, the permit is renewed.
    await expect(acquire(next, key, { ...options, waitTime: '800ms' })).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
    });
    const entering = acquire(next, key, { ...options, waitTime: '10s' });
    await victim.kill();
    const killedAt = performance.timeOrigin + performance.now();
    await entering;
    expect(performance.timeOrigin + performance.now() - killedAt).toBeLessThan(500 + 1_000);
  });

  /** Twelve callers that ask one after the other, in turn from each process. @returns their numbers in the order in which they were served. */
  async function servedInOrder(options: LockAdmission): Promise<number[]> {
    const key = freshKey();
    const holder = await client.set(`${NAMESPACE}:{${key}}:lock`, '1:somebody:1', 'PX', 60_000);
    expect(holder).toBe('OK');
    const calls: Promise<Section[]>[] = [];
    for (let n = 0; n < 12; n += 1) {
      const worker = pool.worker(n % PROCESSES);
      const asked = () =>
        worker.events.filter(
          ({ name, detail }) => name === 'attempted' && (detail as { key: string }).key === key,
        ).length;
      const before = asked();
      const payload = { key, callers: 1, rounds: 1, waitTime: '30s', options };
      calls.push(worker.call<Section[]>('contend', payload));
      await until('the attempt', () => asked() > before);
      if (options.fair) await until('its place', async () => (await places(key)) === n + 1);
    }
    // Everybody of the plain ones is in a queue by now as well: of each process one, behind which its others wait.
    await until('all to wait', async () => (await places(key)) >= PROCESSES);
    await client.del(`${NAMESPACE}:{${key}}:lock`);
    const served = (await Promise.all(calls)).map(([section], n) => ({ n, at: section!.from }));
    return served.toSorted((a, b) => a.at - b.at).map(({ n }) => n);
  }

  const places = (key: string): Promise<number> => client.zcard(`${NAMESPACE}:{${key}}:wait`);

  it('fair callers are served in order of arrival', async () => {
    expect(await servedInOrder({ fair: true })).toEqual(Array.from({ length: 12 }, (_, n) => n));
  });

  it('control: others are served process by process', async () => {
    expect(await servedInOrder({})).not.toEqual(Array.from({ length: 12 }, (_, n) => n));
  });
});
