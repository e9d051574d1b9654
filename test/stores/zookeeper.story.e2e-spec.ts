import { mkdtempSync, rmSync } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { lockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { take } from '../contract/lock-store.contract.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { startWorkers } from '../support/processes.js';

const url = inject('zookeeperUrl');
const JOB = lockKey('job1');

/** What one worker did, on a clock that all of them share. */
interface Line {
  readonly attemptAt: number;
  readonly acquireAt: number;
  readonly leaseAt: number;
  readonly token: bigint | null;
}

/** Fails when two are inside. */
class StubResource {
  constructor(readonly file: string) {}

  async use(): Promise<void> {
    await (await open(this.file, 'wx')).close();
    await pause(20);
    await unlink(this.file);
  }
}

async function work(store: LockStore | null, resource: StubResource): Promise<Line> {
  const attemptAt = now();
  const grant = store && (await take(store, JOB, { waitTimeMs: 30_000 }));
  const acquireAt = now();
  await resource.use();
  const leaseAt = now();
  if (grant) await store.release(grant);
  return { attemptAt, acquireAt, leaseAt, token: grant?.fencingToken ?? null };
}

/** All asked before the first was done; one was inside at a time; tokens are in the order of entry. */
function expectTimeline(lines: readonly Line[]): void {
  const timeline = [...lines].sort((a, b) => a.acquireAt - b.acquireAt);
  const firstDone = timeline[0]!.leaseAt;
  for (const { attemptAt } of timeline) expect(attemptAt).toBeLessThan(firstDone);
  for (const [index, line] of timeline.slice(1).entries()) {
    const before = timeline[index]!;
    expect(line.acquireAt).toBeGreaterThanOrEqual(before.leaseAt);
    expect(line.token! > before.token!).toBe(true);
  }
}

describe.skipIf(url === null)(
  'ten workers, one job, a resource that fails when two are inside',
  () => {
    let world: ZooKeeperWorld;
    let directory: string;
    let resource: StubResource;
    beforeEach(() => {
      world = new ZooKeeperWorld(url!);
      directory = mkdtempSync(join(tmpdir(), 'resource-'));
      resource = new StubResource(join(directory, 'inside'));
    });
    afterEach(async () => {
      await world.close();
      rmSync(directory, { recursive: true });
    });

    it.each(['mutex', 'semaphore-mutex'] as const)('stores of one process, %s', async (layout) => {
      const stores = await Promise.all(Array.from({ length: 10 }, () => world.store({ layout })));
      const lines = await Promise.all(stores.map((store) => work(store, resource)));
      expect(lines).toHaveLength(10);
      expectTimeline(lines);
    });

    it('ten processes', async () => {
      const pool = await startWorkers({ script: 'zookeeper-worker.mjs', count: 10 });
      const { namespace } = world;
      const options = { connectString: url! };
      const call = (command: string, payload: object) =>
        Promise.all(pool.workers.map((worker) => worker.call(command, payload)));
      await call('open', { options, namespace });
      expectTimeline((await call('work', { key: JOB, file: resource.file })) as Line[]);
      await pool.stop();
    });

    it('control: without the lock the resource fails', async () => {
      const works = Array.from({ length: 10 }, () => work(null, resource));
      const failed = (await Promise.allSettled(works)).filter((it) => it.status === 'rejected');
      expect(failed.length).toBeGreaterThan(0);
    });
  },
);
