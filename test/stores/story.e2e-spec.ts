import { mkdtempSync, rmSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startWorkers, type WorkerPool } from '../support/processes.js';
import { type OwnRedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type OwnRedis, startRedis } from '../support/services.js';

/** What one worker did, on a clock that all of them share. */
interface Line {
  readonly attemptAt: number;
  readonly acquireAt: number;
  readonly leaseAt: number;
  readonly token: bigint | null;
}

const redisUrl = inject('redisUrl');
const databaseUrl = inject('databaseUrl');
const mysqlUrl = inject('mysqlUrl');
const zookeeperUrl = inject('zookeeperUrl');

/** Ten processes for all stores: each opens every store in turn, in a namespace of the test's own. */
describe('ten workers, job1, and a resource that fails when two are inside', () => {
  let pool: WorkerPool;
  let directory: string;
  let servers: readonly OwnRedis[] = [];
  let cluster: OwnRedisCluster | undefined;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'resource-'));
    if (inject('canStartRedis')) {
      servers = await Promise.all([1, 2, 3].map(() => startRedis()));
      cluster = await startRedisCluster();
    }
    pool = await startWorkers({ script: 'store-worker.mjs', count: 10 });
  });
  afterAll(async () => {
    await pool?.stop();
    await Promise.all([...servers.map((server) => server.stop()), cluster?.stop()]);
    rmSync(directory, { recursive: true });
  });

  /** @param processes how many the ten are spread over. */
  async function run(kind: string, options: object, locked: boolean, processes: number) {
    const namespace = `story-${randomUUID().slice(0, 8)}`;
    const workers = pool.workers.slice(0, processes);
    const settings = { kind, options, namespace };
    await Promise.all(workers.map((worker) => worker.call('open', settings)));
    const job = { namespace, key: 'job1', file: join(directory, namespace), locked };
    const ten = Array.from({ length: 10 }, (_, n) => workers[n % processes]!);
    return Promise.allSettled(ten.map((worker) => worker.call<Line>('work', job)));
  }

  async function expectStory(kind: string, options: object, processes = 10): Promise<void> {
    const results = await run(kind, options, true, processes);
    const failures = results.flatMap((it) => (it.status === 'rejected' ? [it.reason] : []));
    expect(failures, 'the resource failed, or a worker was turned away').toEqual([]);
    expectTimeline(results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : [])));
  }

  it.skipIf(redisUrl === null)('redis', () => expectStory('redis', { connection: redisUrl }));

  it.skipIf(!inject('canStartRedis'))('redis cluster', () =>
    expectStory('redis-cluster', { nodes: cluster!.startNodes }),
  );

  it.skipIf(!inject('canStartRedis'))('redlock', () =>
    expectStory('redlock', { connections: servers.map(({ url }) => url) }),
  );

  it.skipIf(zookeeperUrl === null).each(['mutex', 'semaphore-mutex'])('zookeeper, %s', (layout) =>
    expectStory('zookeeper', { connectString: zookeeperUrl, layout }),
  );

  it.skipIf(databaseUrl === null)('postgres', () =>
    expectStory('postgres', { connection: databaseUrl }),
  );

  it.skipIf(mysqlUrl === null)('mysql', () => expectStory('mysql', { connection: mysqlUrl }));

  it.skipIf(databaseUrl === null)('table on PostgreSQL', () =>
    expectStory('table', { dataSource: { type: 'postgres', url: databaseUrl } }),
  );

  it('table on SQLite', () => {
    const dataSource = { type: 'better-sqlite3', database: join(directory, 'locks.sqlite') };
    return expectStory('table', { dataSource });
  });

  it('memory, which sees one process: all ten in it', () => expectStory('memory', {}, 1));

  it('control: without the lock the resource fails', async () => {
    const results = await run('memory', {}, false, 10);
    const failed = results.filter((it) => it.status === 'rejected');
    expect(failed.map((it) => String(it.reason))).toContainEqual(expect.stringContaining('EEXIST'));
  });

  it('control: locks in memory, seen by their own process only, do not help ten of them', async () => {
    const results = await run('memory', {}, true, 10);
    expect(results.filter((it) => it.status === 'rejected').length).toBeGreaterThan(0);
  });
});

/** All asked before the last was let in; one was inside at a time; tokens are in the order of entry. */
function expectTimeline(lines: readonly Line[]): void {
  const timeline = lines.toSorted((a, b) => a.acquireAt - b.acquireAt);
  expect(timeline).toHaveLength(10);
  const lastEntry = timeline.at(-1)!.acquireAt;
  for (const { attemptAt } of timeline) expect(attemptAt).toBeLessThan(lastEntry);
  for (const [index, line] of timeline.slice(1).entries()) {
    const before = timeline[index]!;
    expect(line.acquireAt).toBeGreaterThanOrEqual(before.leaseAt);
    if (line.token !== null) expect(line.token > before.token!).toBe(true);
  }
}
