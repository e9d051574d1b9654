import { fileURLToPath } from 'node:url';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startWorkers, type WorkerPool, type WorkerProcess } from '../support/processes.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { databaseUrl, describeWith, redisUrl } from '../support/with-services.js';

const SCRIPT = fileURLToPath(new URL('workers/paying-worker.mjs', import.meta.url));
/** Holders that are frozen at a time, each of a lock of its own. */
const KEYS = 10;
const ids = Array.from({ length: KEYS }, (_, index) => index + 1);
const LEASE_MS = 700;
const MAX_HOLD_MS = 900;

describeWith('redis', 'postgres')(
  'a process that is frozen (SIGSTOP) while it holds a lock',
  () => {
    let database: OwnDatabase;
    let observer: DataSource;
    let pool: WorkerPool;
    let frozen: WorkerProcess;
    let successor: WorkerProcess;

    beforeAll(async () => {
      database = await createDatabase(databaseUrl(), 'frozen');
      observer = await new DataSource({ type: 'postgres', url: database.url }).initialize();
      await observer.query('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)');
      for (const id of ids) await observer.query('INSERT INTO account VALUES ($1, 100)', [id]);
      pool = await startWorkers({ script: SCRIPT, count: 2 });
      [frozen, successor] = [pool.worker(0), pool.worker(1)];
      const options = {
        databaseUrl: database.url,
        redisUrl: redisUrl(),
        namespace: `frozen-${process.pid}`,
        leaseTime: LEASE_MS,
        maxHold: MAX_HOLD_MS,
      };
      for (const worker of pool.workers) await worker.call('boot', options);
    });
    afterAll(async () => {
      await pool?.kill();
      await observer?.destroy();
      await database?.drop();
    });
    beforeEach(async () => {
      await observer.query('UPDATE account SET balance = 100');
      await frozen.call('close');
    });

    /** Every holder adds 1 and is frozen in the middle; while it is, its successor adds 100; then it thaws and goes on. */
    async function freeze(pay: string, add: string) {
      const insideBefore = frozen.events.filter((it) => it.name === 'inside').length;
      const paying = Promise.allSettled(ids.map((id) => frozen.call(pay, { id, amount: 1 })));
      await until(
        'all holders in the middle',
        () => frozen.events.filter((it) => it.name === 'inside').length === insideBefore + KEYS,
      );
      process.kill(frozen.pid, 'SIGSTOP');
      try {
        await Promise.all(ids.map((id) => successor.call(add, { id, amount: 100 })));
      } finally {
        process.kill(frozen.pid, 'SIGCONT');
      }
      await frozen.call('go');
      const settled = await paying;
      const rows: { balance: number }[] = await observer.query('SELECT balance FROM account');
      return { settled, balances: rows.map(({ balance }) => balance) };
    }

    describe.each([
      ['inside its transaction, after the fence', 'payInside'],
      ['between the lock and its transaction', 'payBefore'],
    ])('%s', (_where, pay) => {
      it.each([1, 2, 3, 4, 5])(
        `does not commit after its successor did, and its caller is told so (${KEYS} holders, round %i)`,
        async () => {
          const { settled, balances } = await freeze(pay, 'add');
          expect(balances).toEqual(ids.map(() => 200));
          for (const each of settled) {
            expect(each).toMatchObject({
              status: 'rejected',
              reason: { committed: false, retryable: true },
            });
          }
        },
      );
    });

    it('control: with the lock alone, it overwrites what its successor has committed', async () => {
      const { settled, balances } = await freeze('payPlain', 'addPlain');
      expect(balances).toEqual(ids.map(() => 101)); // every 100 is lost
      // The callers learn of the lost lock, too late.
      expect(settled.map(({ status }) => status)).toEqual(ids.map(() => 'rejected'));
    });
  },
);
