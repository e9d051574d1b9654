import type { INestApplicationContext } from '@nestjs/common';
import { LockInsideTransactionError } from 'nestjs-distributed-lock';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, redisUrl } from '../support/with-services.js';
import { counterApp, CounterService } from './counter-app.js';
import { type CounterDatabase, counterDatabase } from './counter-database.js';

const CALLS = 60;

describeWith('redis', 'postgres')(
  'the incident: an outer transaction is open when the lock is taken',
  () => {
    let database: CounterDatabase;
    const apps: INestApplicationContext[] = [];

    /** The same call, many times at once, on two servers. */
    async function callsOnTwoServers(
      onOpenTransaction: 'reject' | 'warn',
      call: (counters: CounterService) => Promise<number>,
    ): Promise<PromiseSettledResult<number>[]> {
      const transactions = { onOpenTransaction, onWarning: () => undefined };
      const options = { databaseUrl: database.url, redisUrl: redisUrl(), transactions };
      const servers = await Promise.all([counterApp(options), counterApp(options)]);
      apps.push(...servers);
      const services = servers.map((app) => app.get(CounterService));
      return Promise.allSettled(Array.from({ length: CALLS }, (_, n) => call(services[n % 2]!)));
    }

    beforeAll(async () => {
      // A commit that takes its time, as a busy database's does.
      database = await counterDatabase('incident', 5);
    });

    afterAll(async () => {
      await Promise.all(apps.map((app) => app.close()));
      await database.drop();
    });

    it('is refused: nothing runs, nothing is written, and the error says where the transaction was opened', async () => {
      const id = await database.counter('refused');
      const results = await callsOnTwoServers('reject', (counters) =>
        counters.addInsideTransaction(id),
      );
      for (const result of results) {
        const error =
          result.status === 'rejected' ? (result.reason as LockInsideTransactionError) : null;
        expect(error).toBeInstanceOf(LockInsideTransactionError);
        expect(error).toMatchObject({ methodRan: false, committed: false, retryable: false });
        expect(error!.openedAt).toContain('addInsideTransaction');
        expect(error!.message).toContain('CounterService.add');
      }
      expect(await database.value(id)).toBe(0);
    });

    it("loses updates under 'warn', which is why it is refused by default", async () => {
      const id = await database.counter('warned');
      const results = await callsOnTwoServers('warn', (counters) =>
        counters.addInsideTransaction(id),
      );
      expect(results.filter((it) => it.status === 'fulfilled')).toHaveLength(CALLS);
      expect(await database.value(id)).toBeLessThan(CALLS);
    });

    it('does not happen with the lock outside: no update is lost', async () => {
      const id = await database.counter('locked');
      const results = await callsOnTwoServers('reject', (counters) => counters.add(id));
      expect(results.filter((it) => it.status === 'fulfilled')).toHaveLength(CALLS);
      expect(await database.value(id)).toBe(CALLS);
    });
  },
);
