import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { type WorkerPool, startWorkers } from '../support/processes.js';
import { createDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { startZooKeeper } from '../support/zookeeper.js';

/** What a process may keep of a key that it has used, on an average. A queue, a timer, an entry of a map: each takes more than 100. */
const BYTES_PER_KEY = 25;
const CALLERS = 100;

interface Server {
  readonly options: object;
  /** What the server still has of the keys, in words; `''` for nothing. */
  left(namespace: string): Promise<string>;
  stop(): Promise<unknown>;
}

interface Store {
  readonly kind: string;
  readonly keys: number;
  readonly canStart: boolean;
  start(): Promise<Server>;
}

const nothing = async (): Promise<string> => '';

const STORES: readonly Store[] = [
  {
    kind: 'memory',
    keys: 100_000,
    canStart: true,
    start: async () => ({ options: {}, left: nothing, stop: async () => undefined }),
  },
  {
    kind: 'redis',
    keys: 100_000,
    canStart: inject('redisUrl') !== null,
    async start() {
      const client = new Redis(inject('redisUrl')!);
      return {
        options: { connection: inject('redisUrl')! },
        left: async (namespace) =>
          (await client.keys(`${namespace}:*`)).filter((it) => !it.endsWith(':fence')).join(),
        stop: async () => client.disconnect(),
      };
    },
  },
  {
    kind: 'postgres',
    keys: 100_000,
    canStart: inject('databaseUrl') !== null,
    async start() {
      const database = await createDatabase(inject('databaseUrl')!, 'many_keys');
      const client = new Client({ connectionString: database.url });
      await client.connect();
      const sql = `SELECT count(*)::int AS locks FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND d.datname = current_database()`;
      return {
        options: { connection: database.url },
        async left() {
          const { locks } = (await client.query<{ locks: number }>(sql)).rows[0]!;
          return locks === 0 ? '' : `${locks} advisory locks`;
        },
        stop: () => client.end().then(() => database.drop()),
      };
    },
  },
  {
    kind: 'mysql',
    keys: 20_000,
    canStart: inject('mysqlUrl') !== null,
    start: async () => ({
      options: { connection: inject('mysqlUrl')! },
      left: nothing,
      stop: async () => undefined,
    }),
  },
  {
    kind: 'zookeeper',
    keys: 20_000,
    canStart: inject('canStartZooKeeper'),
    async start() {
      // The server removes the directories of keys that nobody uses; by default not more than 10,000 in a minute.
      const server = await startZooKeeper({ javaArgs: ['-Dznode.container.maxPerMinute=1000000'] });
      const world = new ZooKeeperWorld(server.url);
      return {
        options: { connectString: server.url },
        async left(namespace) {
          const names = await world.client.getChildren(`/lock/mutex/${namespace}`);
          return names.length === 0 ? '' : `${names.length} directories`;
        },
        stop: () => world.close().then(() => server.stop()),
      };
    },
  },
];

describe('a process that has used very many keys', () => {
  const namespace = `t-${randomUUID().slice(0, 8)}`;
  let pool: WorkerPool;
  beforeEach(async () => {
    pool = await startWorkers({ script: 'store-worker.mjs', count: 1 });
  });
  afterEach(() => pool.kill());

  /** @returns bytes per key by which the heap has grown since a fifth of them was used. */
  async function growth(store: object, keys: number): Promise<number> {
    const worker = pool.worker(0);
    await worker.call('open', { namespace, ...store });
    const use = (count: number): Promise<number> =>
      worker.call('churn', { namespace, keys: count, callers: CALLERS, room: 1 });
    const early = await use(keys / 5);
    const late = await use(keys - keys / 5);
    return (late - early) / (keys - keys / 5);
  }

  describe.each(STORES)('$kind, $keys keys', ({ kind, keys, canStart, start }) => {
    it.skipIf(!canStart)('keeps nothing of them, and neither does its server', async () => {
      const { options, left, stop } = await start();
      try {
        expect(await growth({ kind, options }, keys)).toBeLessThan(BYTES_PER_KEY);
        let what = '';
        await until(
          'the server to forget them',
          async () => (what = await left(namespace)) === '',
          {
            deadlineMs: 30_000,
            everyMs: 100,
          },
        ).catch((cause: unknown) => {
          throw new Error(`left behind: ${what.slice(0, 200)}`, { cause });
        });
      } finally {
        await stop();
      }
    });
  });

  it('control: where a little is kept of each, it shows', async () => {
    const store = { kind: 'memory', options: {}, breaks: 'remembers' };
    expect(await growth(store, 20_000)).toBeGreaterThan(BYTES_PER_KEY);
  });
});
