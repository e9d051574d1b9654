import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntityManager, Logger } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  DistributedLockModule,
  DistributedLockService,
  type Hold,
  type LockTransactionOptions,
  memoryStore,
} from 'nestjs-distributed-lock';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { canHave, FenceWorld } from '../fence/fence-world.js';
import { until } from '../support/until.js';
import { StatementLog } from './database.js';
import { rejection } from './spec-hold.js';

const READ_COMMITTED = 'READ COMMITTED';

describe.each(['postgres', 'mariadb'] as const)("onOpenTransaction: 'hold', on %s", (name) => {
  describe.skipIf(!canHave(name))('of a database that is there', () => {
    let world: FenceWorld;
    let app: INestApplicationContext;
    let locks: DistributedLockService;
    let dataSource: DataSource;
    let other: DataSource;
    let happened: string[];

    beforeAll(async () => {
      world = await FenceWorld.open(name);
      happened = [];
      const log: Logger = Object.assign(new StatementLog(), {
        logQuery: (query: string) => happened.push(shortened(query)),
      });
      const source = { type: name, url: world.url, entities: [], synchronize: true };
      class App {}
      Module({
        imports: [
          TypeOrmModule.forRoot({ ...source, logger: log, poolSize: 20 }),
          TypeOrmModule.forRoot({ ...source, name: 'other' }),
          DistributedLockModule.forRoot({
            store: memoryStore(),
            transactions: typeormTransactions({
              fence: { table: world.fences },
              onOpenTransaction: 'hold',
              onWarning: () => undefined,
            }),
          }),
        ],
      })(App);
      app = await NestFactory.createApplicationContext(App, {
        logger: false,
        abortOnError: false,
      });
      locks = app.get(DistributedLockService);
      dataSource = app.get(getDataSourceToken());
      other = app.get(getDataSourceToken('other'));
      locks.events.on(({ type }) => happened.push(type));
    });
    afterAll(async () => {
      await app?.close();
      await world?.close();
    });
    beforeEach(() => {
      happened.length = 0;
    });
    afterEach(async () => {
      await world.reset();
      await world.query(`DELETE FROM ${world.account} WHERE id > 2`);
    });

    const shortened = (query: string) =>
      query.includes(world.fences) ? 'fence' : query.replace(/^(\S+ ?\S*).*/s, '$1');
    const locked = <T>(
      work: (locked: { manager: EntityManager }) => Promise<T>,
      options: LockTransactionOptions = {},
      key: string | string[] = 'account:1',
    ) => locks.withTransaction<T, EntityManager>(key, options, work);
    const add = ({ manager }: { manager: EntityManager }) => world.add(manager, 1);
    const busy = async (key = 'account:1') => {
      const hold = await locks.tryAcquire(key);
      await hold?.release();
      return hold === null;
    };
    /** Inserts unless somebody has: what a snapshot that is older than the lock gets wrong. */
    const insertOnce = async (manager: EntityManager, id: number) => {
      const rows = await manager.query(`SELECT id FROM ${world.account} WHERE id >= 100`);
      if (rows.length === 0) await manager.query(`INSERT INTO ${world.account} VALUES (${id}, 0)`);
    };
    const inserted = async () =>
      (await world.query(`SELECT id FROM ${world.account} WHERE id >= 100`)).length;

    it('releases after the COMMIT of the outer transaction, before its caller goes on', async () => {
      await dataSource.transaction(READ_COMMITTED, async () => {
        await locked(add);
        happened.push('method returned');
      });
      happened.push('outer returned');
      expect(
        happened.filter((each) => !each.startsWith('SET') && each !== 'SHOW VARIABLES'),
      ).toEqual([
        'START TRANSACTION',
        'attempted',
        'acquired',
        'fence',
        'SELECT balance',
        `UPDATE ${world.account}`,
        'method returned',
        'COMMIT',
        'released',
        'outer returned',
      ]);
    });

    it('releases after its ROLLBACK', async () => {
      await rejection(
        dataSource.transaction(READ_COMMITTED, async () => {
          await locked(add);
          throw new Error('no');
        }),
      );
      expect(happened.slice(-2)).toEqual(['ROLLBACK', 'released']);
      expect(await world.balance()).toBe(100);
    });

    it('60 outer transactions at a time lose no update', async () => {
      await Promise.all(
        Array.from({ length: 60 }, () => dataSource.transaction(READ_COMMITTED, () => locked(add))),
      );
      expect(await world.balance()).toBe(160);
    });

    it('of a manual runner, too', async () => {
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction(READ_COMMITTED);
      await locked(add);
      expect(await locks.outsideTransaction(() => busy())).toBe(true);
      await runner.commitTransaction();
      expect(await busy()).toBe(false);
      await runner.release();
      expect(await world.balance()).toBe(101);
    });

    it('holds a key once per outer transaction, also for calls at the same time', async () => {
      await dataSource.transaction(READ_COMMITTED, async () => {
        await Promise.all([locked(add), locked(add)]);
        await locked(add, {}, ['account:1', 'account:2']);
        await locked(async () => locked(add));
      });
      expect(happened.filter((each) => each === 'acquired')).toHaveLength(2);
      expect(happened.filter((each) => each === 'released')).toHaveLength(2);
      expect(happened.indexOf('released')).toBeGreaterThan(happened.indexOf('COMMIT'));
      expect(await world.balance()).toBe(104);
    });

    it('holds another key inside a locked transaction until that one has ended', async () => {
      const transaction = { isolation: READ_COMMITTED } as const;
      await locked(
        async () => {
          await locked(add, {}, 'account:2');
          expect(await locks.outsideTransaction(() => busy('account:2'))).toBe(true);
        },
        { transaction },
      );
      expect(happened.slice(-3)).toEqual(['COMMIT', 'released', 'released']);
      expect(happened.filter((each) => each === 'fence')).toHaveLength(2);
    });

    it('a lock that is lost meanwhile: the outer transaction does not commit', async () => {
      const error = await rejection(
        dataSource.transaction(READ_COMMITTED, async () => {
          await locked(add, { leaseTime: 200, renew: false, transaction: { fenced: false } });
          await until('lost', async () => happened.includes('lost'));
        }),
      );
      expect(error).toMatchObject({ code: 'LOCK_LOST', methodRan: true, committed: false });
      expect(await world.balance()).toBe(100);
    });

    it('a transaction that outlives maxHold does not commit, and the lock is left to its lease', async () => {
      const transaction = { maxHold: 200, fenced: false };
      const error = await rejection(
        dataSource.transaction(READ_COMMITTED, async () => {
          await locked(add, { transaction, leaseTime: 400 });
          await until('free', () => locks.outsideTransaction(async () => !(await busy())));
        }),
      );
      expect(error).toMatchObject({ code: 'MAX_HOLD_EXCEEDED', committed: false });
      expect(await world.balance()).toBe(100);
    });

    it.runIf(name === 'mariadb')(
      'a deadlock that the outer transaction swallows does not become autocommit',
      async () => {
        const error = await rejection(
          dataSource.transaction(READ_COMMITTED, async (manager) => {
            await locked(async () => undefined);
            await rejection(
              manager.query(`SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213`), // as InnoDB reports it
            );
            await world.add(manager, 1).catch(() => undefined);
          }),
        );
        expect(error).toMatchObject({ code: 'TRANSACTION_ROLLED_BACK', reason: 'deadlock' });
        expect(happened.slice(-2)).toEqual(['ROLLBACK', 'released']);
      },
    );

    it('a savepoint that is rolled back releases what was taken in it', async () => {
      await dataSource.transaction(READ_COMMITTED, async (outer) => {
        await rejection(
          outer.transaction(async () => {
            await locked(add);
            throw new Error('no');
          }),
        );
        expect(await locks.outsideTransaction(() => busy())).toBe(false);
        await locked(add);
        expect(await locks.outsideTransaction(() => busy())).toBe(true);
      });
      expect(happened.filter((each) => each === 'fence')).toHaveLength(2);
      expect(await world.balance()).toBe(101);
    });

    it('a runner that is given back without an end leaves the lock to its lease', async () => {
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction(READ_COMMITTED);
      await locked(async () => undefined, { leaseTime: 500 }, 'account:9');
      await runner.query('ROLLBACK'); // of which no event tells, as of a connection that died
      expect(await locks.outsideTransaction(() => busy('account:9'))).toBe(true);
      await runner.release();
      expect(await locks.outsideTransaction(() => busy('account:9'))).toBe(true);
      await until('its lease is over', async () => !(await busy('account:9')));
    });

    it('is refused without a transaction of its own: acquire(), withLock()', async () => {
      await dataSource.transaction(READ_COMMITTED, async () => {
        for (const refused of [
          locks.acquire('account:1'),
          locks.withLock('account:1', async () => 1),
        ])
          expect(await rejection(refused)).toMatchObject({ code: 'LOCK_INSIDE_TRANSACTION' });
      });
      expect(happened).not.toContain('attempted');
    });

    it('is refused in a transaction of another DataSource, which ends by itself', async () => {
      await other.transaction(READ_COMMITTED, async () => {
        expect(await rejection(locked(add))).toMatchObject({
          code: 'LOCK_INSIDE_TRANSACTION',
          message: expect.stringContaining('DataSource "default"'),
        });
        await locked(add, { transaction: { dataSource: 'other' } });
      });
      expect(await world.balance()).toBe(101);
    });

    it('unfenced, is refused above READ COMMITTED', async () => {
      const transaction = { fenced: false };
      await dataSource.transaction(READ_COMMITTED, () => locked(add, { transaction }));
      for (const level of ['REPEATABLE READ', 'SERIALIZABLE'] as const) {
        await dataSource.transaction(level, async () => {
          const error = await rejection(locked(add, { transaction }));
          expect(error).toMatchObject({
            code: 'LOCK_INSIDE_TRANSACTION',
            message: expect.stringContaining(level),
          });
        });
      }
      expect(await world.balance()).toBe(101);
    });

    describe('15 callers that insert unless somebody has, with a snapshot older than the lock', () => {
      const all = (level: 'REPEATABLE READ' | 'READ COMMITTED') =>
        Promise.allSettled(
          Array.from({ length: 15 }, (_, n) =>
            dataSource.transaction(level, async (manager) => {
              await manager.query(`SELECT count(*) FROM ${world.account}`);
              await locked(({ manager: joined }) => insertOnce(joined, 100 + n));
            }),
          ),
        );

      it('at READ COMMITTED insert one row', async () => {
        const results = await all('READ COMMITTED');
        expect(results.every(({ status }) => status === 'fulfilled')).toBe(true);
        expect(await inserted()).toBe(1);
      });

      it.runIf(name === 'postgres')(
        'at REPEATABLE READ insert one row: the fence notices the old snapshots',
        async () => {
          const results = await all('REPEATABLE READ');
          const failed = results.filter((result) => result.status === 'rejected');
          expect(failed.length).toBeGreaterThan(0);
          for (const { reason } of failed)
            expect(reason).toMatchObject({ driverError: { code: '40001' } });
          expect(await inserted()).toBe(1);
        },
      );

      it.runIf(name === 'mariadb')(
        'at REPEATABLE READ are refused, whoever has set it',
        async () => {
          const results = await all('REPEATABLE READ');
          for (const result of results)
            expect(result).toMatchObject({ reason: { code: 'LOCK_INSIDE_TRANSACTION' } });
          const refused = await rejection(dataSource.transaction(() => locked(add))); // the server's default
          expect(refused).toMatchObject({ message: expect.stringContaining('REPEATABLE READ') });
          expect(await inserted()).toBe(0);
          expect(happened).not.toContain('attempted');
        },
      );

      it('control: locked until the COMMIT, but without a fence, they insert several', async () => {
        const one = async (n: number) => {
          let hold: Hold | undefined;
          try {
            await dataSource.transaction('REPEATABLE READ', async (manager) => {
              await manager.query(`SELECT count(*) FROM ${world.account}`);
              hold = await locks.outsideTransaction(() => locks.acquire('account:1'));
              await insertOnce(manager, 100 + n);
            });
          } finally {
            await hold?.release();
          }
        };
        await Promise.all(Array.from({ length: 15 }, (_, n) => one(n)));
        expect(await inserted()).toBeGreaterThan(1);
      });
    });
  });
});
