import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { freshKey } from '../contract/lock-store.contract.js';
import { ensureBuilt } from '../support/build.js';
import { type WorkerPool, type WorkerProcess, eventOf } from '../support/processes.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { freePort } from '../support/throwaway.js';
import { until } from '../support/until.js';
import { type Called, acquire, startLockWorkers } from './locking-workers.js';

const EXITING = fileURLToPath(new URL('../support/workers/lock-exit.mjs', import.meta.url));

describe.skipIf(!inject('canStartRedis'))('an application whose Redis is not there', () => {
  let pool: WorkerPool;
  let redis: OwnRedis | undefined;
  let refused: WorkerProcess;
  let patient: WorkerProcess;

  beforeAll(async () => {
    pool = await startLockWorkers(2);
    [refused, patient] = [pool.worker(0), pool.worker(1)];
  });
  afterAll(async () => {
    await pool?.kill();
    await redis?.stop();
  });
  afterEach(() => {
    for (const worker of pool.workers) {
      const unhandled = worker.events.filter((it) => it.name === 'unhandledRejection');
      expect(unhandled, `of ${worker.name}`).toEqual([]);
    }
  });

  it('does not start, and says so within 5 s', async () => {
    const connection = `redis://127.0.0.1:${await freePort()}`;
    const startedAt = performance.now();
    await expect(refused.call('boot', { store: { connection } })).rejects.toMatchObject({
      code: 'LOCK_STORE_UNAVAILABLE',
    });
    expect(performance.now() - startedAt).toBeLessThan(5_000 + 1_000);
  });

  it('starts with connectOnBoot: false; calls fail in time until Redis is there, again when it dies, and work in between', async () => {
    const port = await freePort();
    const connection = `redis://127.0.0.1:${port}`;
    const key = freshKey();
    const bootMs = await patient.call<number>('boot', {
      store: { connection, commandTimeout: 500 },
      connectOnBoot: false,
      waitTime: 300,
    });
    expect(bootMs).toBeLessThan(5_000);

    const fails = async () => {
      const called = await patient.call<Called>('call', { key });
      expect(called).toMatchObject({ ran: false, error: { code: 'LOCK_STORE_UNAVAILABLE' } });
      expect(called.tookMs).toBeLessThan(300 + 300);
    };
    const works = () =>
      until('a call to succeed', async () => {
        const called = await patient.call<Called>('call', { key });
        return called.ran && called.error === null;
      });

    await fails();
    redis = await startRedis({ port });
    await works();
    await acquire(patient, freshKey('held'), { leaseTime: '500ms' });
    const stuck = patient.call<Called>('call', { key, waitTime: 20_000 });
    expect(await stuck).toMatchObject({ ran: true });
    await redis.kill();
    await fails();
    await eventOf(patient, 'lost-signal');
    await redis.restart();
    await works();
  });
});

describe('a process', () => {
  /** @returns its exit code, and what it said. */
  async function run(...args: string[]): Promise<{ code: number | null; said: string }> {
    await ensureBuilt();
    const child = spawn(process.execPath, [EXITING, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, said };
  }

  it('is not kept alive by a lock that it holds, nor by one that it waits for', async () => {
    expect(await run('memory')).toEqual({ code: 0, said: 'holds and waits\n' });
  });

  const redisUrl = inject('redisUrl');
  it.skipIf(redisUrl === null)('ends by itself after app.close()', async () => {
    expect(await run('redis', redisUrl!)).toEqual({ code: 0, said: 'holds and waits\nclosed\n' });
  });
});
