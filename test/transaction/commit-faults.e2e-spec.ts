import type { DataSource, EntityManager, EntitySubscriberInterface } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';
import { Account, pool, SpecDatabase } from './database.js';
import { rejection, SpecHold } from './spec-hold.js';

describeWith('postgres')('when the connection breaks', () => {
  let database: SpecDatabase;
  let proxy: TcpProxy;
  let dataSource: DataSource;
  let transactions: ReturnType<typeof typeormTransactions>;
  const warnings: string[] = [];

  beforeAll(async () => {
    database = await SpecDatabase.create('commit_faults');
    proxy = await TcpProxy.forUrl(database.url);
  });
  afterAll(async () => {
    await proxy.close();
    await database.close();
  });
  beforeEach(async () => {
    warnings.length = 0;
    await proxy.pass();
    dataSource = await database.open({ url: proxy.url(database.url), poolSize: 2 });
    transactions = typeormTransactions({
      dataSource,
      onWarning: (message) => warnings.push(message),
    });
  });
  afterEach(async () => {
    await proxy.pass();
    await expectUsable();
    await database.expectNothingLeft();
    await database.empty();
    await dataSource.destroy();
  });

  /** As many transactions at a time as the pool has connections: none of them was lost, none is poisoned. */
  async function expectUsable(): Promise<void> {
    const count = () =>
      transactions.run({}, new SpecHold(), (manager) => manager.countBy(Account, { owner: 'x' }));
    expect(await Promise.all([count(), count(), count()])).toEqual([0, 0, 0]);
    expect(pool(dataSource).totalCount).toBeLessThanOrEqual(2);
  }

  const insert = (manager: EntityManager) => manager.insert(Account, { owner: 'ada' });
  const run = (work: (manager: EntityManager) => Promise<unknown>) =>
    transactions.run({}, new SpecHold(), work);
  async function kill(manager: EntityManager): Promise<void> {
    const [{ pid }] = await manager.query<[{ pid: number }]>('SELECT pg_backend_pid() AS pid');
    await database.observer.query('SELECT pg_terminate_backend($1)', [pid]);
  }

  describe('in the middle of the transaction', () => {
    it('and a statement notices: its error is passed through', async () => {
      let noticed: unknown;
      const error = await rejection(
        run(async (manager) => {
          await insert(manager);
          await kill(manager);
          noticed = await rejection(manager.query('SELECT 1'));
          throw noticed;
        }),
      );
      expect(error).toBe(noticed);
      expect(await database.owners()).toEqual([]);
    });

    it('and the work does not notice: rolled back, and retryable', async () => {
      const error = await rejection(
        run(async (manager) => {
          await insert(manager);
          await kill(manager);
          await until('the driver to notice', () => manager.queryRunner!.isReleased);
        }),
      );
      expect(error).toMatchObject({
        code: 'TRANSACTION_ROLLED_BACK',
        reason: 'connection-lost',
        methodRan: true,
        committed: false,
        retryable: true,
      });
      expect(await database.owners()).toEqual([]);
    });

    it('and a nested locked call must fail with it, not go on beside it', async () => {
      const error = await rejection(
        run(async (manager) => {
          await kill(manager);
          await until('the driver to notice', () => manager.queryRunner!.isReleased);
          await run(() => dataSource.getRepository(Account).save({ owner: 'nested' }));
        }),
      );
      expect(error).toBeInstanceOf(Error);
      expect(await database.owners()).toEqual([]);
    });

    it('and the work fails by itself: its error stays the answer', async () => {
      const own = new Error('own');
      const error = await rejection(
        run(async (manager) => {
          await insert(manager);
          await kill(manager);
          throw own;
        }),
      );
      expect(error).toBe(own);
      expect(await database.owners()).toEqual([]);
    });

    it('because the DataSource is destroyed: nothing is committed, nothing stays open', async () => {
      const error = await rejection(
        run(async (manager) => {
          await insert(manager);
          await dataSource.destroy();
        }),
      );
      expect(error).toMatchObject({ code: 'TRANSACTION_ROLLED_BACK', reason: 'connection-lost' });
      expect(await database.owners()).toEqual([]);
      await dataSource.initialize();
    });
  });

  describe('during COMMIT', () => {
    /** Makes every commit take a while, so that it is still running when its client is gone. */
    beforeAll(async () => {
      await database.observer.query(`
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$`);
      await database.observer.query(`
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON account
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`);
    });
    afterAll(() => database.observer.query('DROP FUNCTION slow CASCADE'));

    const unknown = {
      code: 'COMMIT_OUTCOME_UNKNOWN',
      methodRan: true,
      committed: 'unknown',
      retryable: false,
      cause: expect.any(Error),
    };

    it('which never arrives: the outcome is unknown (it is rolled back)', async () => {
      // The last moment before it is sent.
      const cutter: EntitySubscriberInterface & { beforeQuery(event: { query: string }): void } = {
        beforeQuery: ({ query }) => {
          if (query === 'COMMIT') proxy.cut();
        },
      };
      dataSource.subscribers.push(cutter);
      const error = await rejection(run(insert));
      dataSource.subscribers.splice(dataSource.subscribers.indexOf(cutter), 1);
      expect(error).toMatchObject(unknown);
      expect(await database.owners()).toEqual([]);
    });

    it('which arrives, and its answer does not: the outcome is unknown (it is committed, later)', async () => {
      const cut = proxy.cutBeforeReplyTo('COMMIT');
      const running = rejection(run(insert));
      // Both ends are cut as soon as the server answers; the proxy answers nothing before.
      await cut;
      expect(await running).toMatchObject(unknown);
      await until('the commit', async () => (await database.owners()).length === 1);
    });

    it('while the server still works on it: the caller does not take it for rolled back', async () => {
      const running = rejection(run(insert));
      await until('the COMMIT on the server', async () => {
        const active: unknown[] = await database.observer.query(
          `SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND application_name = 'spec'`,
        );
        return active.length === 1;
      });
      proxy.cut();
      expect(await running).toMatchObject(unknown);
      expect(await database.owners()).toEqual([]); // not yet: a retry now would do it twice
      await until('the late commit', async () => (await database.owners()).length === 1);
    });

    it('control: through the same proxy, without a fault, it commits', async () => {
      await run(insert);
      expect(await database.owners()).toEqual(['ada']);
    });

    it('because the server ends the session: unknown, too', async () => {
      const running = rejection(run(insert));
      await until('the COMMIT on the server', async () => {
        const ended: unknown[] = await database.observer.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE query = 'COMMIT' AND state = 'active' AND application_name = 'spec'`,
        );
        return ended.length === 1;
      });
      expect(await running).toMatchObject({
        ...unknown,
        cause: { driverError: { code: '57P01' } },
      });
    });
  });

  it('while START is sent: the method did not run', async () => {
    await transactions.run({}, new SpecHold(), async () => undefined); // a pooled connection, about to be dead
    const starter: EntitySubscriberInterface & { beforeQuery(event: { query: string }): void } = {
      beforeQuery: ({ query }) => {
        if (query === 'START TRANSACTION') proxy.cut();
      },
    };
    dataSource.subscribers.push(starter);
    let ran = false;
    const error = await rejection(
      run(async () => {
        ran = true;
      }),
    );
    dataSource.subscribers.splice(dataSource.subscribers.indexOf(starter), 1);
    expect(error).toMatchObject({
      code: 'TRANSACTION_START',
      methodRan: false,
      committed: false,
      retryable: true,
    });
    expect(ran).toBe(false);
  });
});
