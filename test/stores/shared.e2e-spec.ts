import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { freshKey } from '../contract/lock-store.contract.js';
import { type CriticalSection, overlaps } from '../support/history.js';
import { startWorkers, type WorkerPool } from '../support/processes.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';

const PROCESSES = 4;
const CALLERS = 6;
const ROUNDS = 15;

interface Visit extends CriticalSection {
  readonly isShared: boolean;
  readonly token: bigint | null;
}

/** Readers and writers of four processes on one key of a real server. */
function describeRace(open: () => Promise<object>): void {
  let pool: WorkerPool;
  let namespace: string;
  let options: object;
  beforeAll(async () => {
    options = await open();
  });
  beforeEach(async () => {
    pool = await startWorkers({ script: 'store-worker.mjs', count: PROCESSES });
    namespace = `t-${randomUUID().slice(0, 8)}`;
    await Promise.all(pool.workers.map((it) => it.call('open', { ...options, namespace })));
  });
  afterEach(async () => {
    await pool.stop();
  });

  async function race(lie: boolean): Promise<readonly Visit[]> {
    const key = freshKey();
    const sections = await Promise.all(
      pool.workers.map(async (worker) => {
        const visits = await worker.call<Visit[]>('race', {
          namespace,
          key,
          callers: CALLERS,
          rounds: ROUNDS,
          lie,
        });
        return visits.map((it) => ({ ...it, worker: worker.name, key }));
      }),
    );
    return sections.flat();
  }

  it('writers are alone, readers of different processes meet, all are served', async () => {
    const visits = await race(false);
    expect(visits).toHaveLength(PROCESSES * CALLERS * ROUNDS);
    expect(overlaps(visits)).toEqual([]);
    const readers = visits.filter(({ isShared }) => isShared);
    const met = overlaps(readers.map((it) => ({ ...it, isShared: false })));
    expect(met.some(({ first, second }) => first.worker !== second.worker)).toBe(true);
    expect(readers.every(({ token }) => token === null)).toBe(true);
    const writers = visits.filter((it) => !it.isShared).toSorted((a, b) => a.from - b.from);
    const tokens = writers.map(({ token }) => token!);
    expect(tokens).toEqual(tokens.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(tokens).size).toBe(tokens.length);
  });

  it('control: where writers ask to share, they are not alone', async () => {
    expect(overlaps(await race(true)).length).toBeGreaterThan(0);
  });
}

describe.skipIf(inject('databaseUrl') === null)('PostgreSQL, shared by processes', () => {
  let database: OwnDatabase | undefined;
  afterAll(() => database?.drop());
  describeRace(async () => {
    database = await createDatabase(inject('databaseUrl')!, 'postgres_shared');
    return { kind: 'postgres', options: { connection: database.url } };
  });
});

describe.skipIf(inject('zookeeperUrl') === null)('ZooKeeper, shared by processes', () => {
  describeRace(async () => ({
    kind: 'zookeeper',
    options: { connectString: inject('zookeeperUrl') },
  }));
});
