import { type INestApplicationContext, Injectable, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, type DataSourceOptions, type MigrationInterface } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
  FenceTableMissingError,
  LockConfigurationError,
  type LockStore,
  memoryStore,
  type TransactionOptions,
} from 'nestjs-distributed-lock';
import {
  fenceDdl,
  LockFenceMigration,
  lockFenceEntity,
  pruneFences,
  type TypeOrmTransactionsOptions,
  typeormTransactions,
} from 'nestjs-distributed-lock/typeorm';
import { rejection } from '../transaction/spec-hold.js';
import { canHave, FenceWorld, WORLDS } from './fence-world.js';

const TABLE = 'lock_fence';

/** A store of the application that has no fencing tokens. */
function storeWithoutTokens(): LockStore {
  const store = memoryStore();
  Object.defineProperty(store, 'traits', { value: { ...store.traits, fencing: 'none' } });
  const acquire = store.acquire.bind(store);
  store.acquire = async (request) => {
    const grant = await acquire(request);
    if (grant) Object.defineProperty(grant, 'fencingToken', { value: null });
    return grant;
  };
  return store;
}

describe.each(WORLDS)('an application that fences, on %s', (name) => {
  describe.skipIf(!canHave(name))('of a database that is there', () => {
    let world: FenceWorld;
    let app: INestApplicationContext | undefined;

    beforeAll(async () => {
      world = await FenceWorld.open(name);
      await world.query(`DROP TABLE IF EXISTS ${TABLE}`);
    });
    afterAll(() => world?.close());
    afterEach(async () => {
      await app?.close();
      app = undefined;
      await world.query(`DROP TABLE IF EXISTS ${TABLE}`);
    });

    interface Given {
      readonly database?: Partial<DataSourceOptions>;
      readonly transactions?: TypeOrmTransactionsOptions;
      readonly store?: LockStore;
      readonly transaction?: TransactionOptions;
    }

    async function boot({ database, transactions, store, transaction }: Given = {}) {
      @Injectable()
      class Accounts {
        constructor(@InjectDataSource() readonly dataSource: DataSource) {}

        @DistributedLock({ key: 'account:{0}', ...(transaction && { transaction }) })
        async add(_id: number, amount: number): Promise<string> {
          await this.dataSource.query(
            `UPDATE ${world.account} SET balance = balance + ${amount} WHERE id = 1`,
          );
          return 'added';
        }
      }
      @Module({
        imports: [
          TypeOrmModule.forRoot({
            type: name,
            url: world.url,
            entities: [],
            retryAttempts: 0,
            ...database,
          } as never),
          DistributedLockModule.forRoot({
            store: store ?? memoryStore(),
            transactions: typeormTransactions(transactions),
          }),
        ],
        providers: [Accounts],
      })
      class App {}
      app = await NestFactory.createApplicationContext(App as Type, {
        logger: false,
        abortOnError: false,
      });
      return { accounts: app.get(Accounts), dataSource: app.get(DataSource) };
    }

    const rows = async () => {
      const [row] = await world.query<{ n: string }>(`SELECT count(*) AS n FROM ${TABLE}`);
      return Number(row!.n);
    };

    it('does not start without the table, and says how to make it', async () => {
      const error = await rejection(boot());
      expect(error).toBeInstanceOf(FenceTableMissingError);
      expect(error).toMatchObject({
        code: 'FENCE_TABLE_MISSING',
        dataSource: 'default',
        methodRan: false,
        message: expect.stringMatching(
          /LockFenceMigration.*lockFenceEntity.*fenceDdl.*fence: false/s,
        ),
      });
    });

    it('makes the table by itself with synchronize: true, and fences by default', async () => {
      const { accounts } = await boot({ database: { synchronize: true } });
      expect(await accounts.add(1, 5)).toBe('added');
      expect(await rows()).toBe(1);
    });

    it('starts without the table where it is told not to fence', async () => {
      const { accounts } = await boot({ transactions: { fence: false } });
      expect(await accounts.add(1, 5)).toBe('added');
    });

    it('starts without the table where the store has no tokens', async () => {
      const { accounts } = await boot({ store: storeWithoutTokens() });
      expect(await accounts.add(1, 5)).toBe('added');
    });

    it('does not fence a method with fenced: false', async () => {
      const { accounts } = await boot({
        database: { synchronize: true },
        transaction: { fenced: false },
      });
      await accounts.add(1, 5);
      expect(await rows()).toBe(0);
    });

    it.each([
      [{ store: storeWithoutTokens() }, 'the store "memory" has no fencing tokens'],
      [{ transactions: { fence: false } }, 'the option "transactions.fence" is false'],
    ] as const)('does not start where fenced: true cannot be kept: %#', async (given, why) => {
      const error = await rejection(
        boot({ ...given, transaction: { fenced: true }, database: { synchronize: true } }),
      );
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect((error as Error).message).toContain(why);
      expect((error as Error).message).toContain('Accounts.add');
    });

    it('runs on a table that the migration made, and the migration takes it back', async () => {
      const { accounts, dataSource } = await boot({
        database: { migrations: [LockFenceMigration], migrationsRun: true },
      });
      await accounts.add(1, 5);
      expect(await rows()).toBe(1);
      const runner = dataSource.createQueryRunner();
      await (new LockFenceMigration() as MigrationInterface).down(runner);
      await runner.release();
      // Gone while the application runs: said so, and the method does not run.
      const error = await rejection(accounts.add(1, 5));
      expect(error).toBeInstanceOf(FenceTableMissingError);
      await world.query(`DROP TABLE IF EXISTS migrations`);
    });

    it('runs on a table made from the entity', async () => {
      const entities = [lockFenceEntity(name)];
      const { accounts } = await boot({ database: { entities, synchronize: true } });
      await accounts.add(1, 5);
      expect(await rows()).toBe(1);
    });

    // The driver `mysql` reads the defaults of a MariaDB server as changes, of every entity.
    it.skipIf(name === 'mysql')(
      'has no migration to generate where the table is there',
      async () => {
        for (const statement of fenceDdl(name)) await world.query(statement);
        const { dataSource } = await boot({ database: { entities: [lockFenceEntity(name)] } });
        const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
        expect(upQueries.map(({ query }) => query)).toEqual([]);
      },
    );

    it('runs on a table made from the statements', async () => {
      for (const statement of fenceDdl(name)) await world.query(statement);
      const { accounts } = await boot();
      await accounts.add(1, 5);
      expect(await rows()).toBe(1);
    });

    it('may use another name', async () => {
      const { accounts } = await boot({
        database: { synchronize: true },
        transactions: { fence: { table: world.fences } },
      });
      await accounts.add(1, 5);
      const [row] = await world.query<{ n: string }>(`SELECT count(*) AS n FROM ${world.fences}`);
      expect(Number(row!.n)).toBe(1);
    });

    it('prunes rows that are old enough, and only those', async () => {
      const { accounts, dataSource } = await boot({ database: { synchronize: true } });
      await accounts.add(1, 1);
      await accounts.add(2, 1);
      const old = world.isPostgres
        ? `now() - interval '2 hours'`
        : 'CURRENT_TIMESTAMP - INTERVAL 2 HOUR';
      await world.query(
        `UPDATE ${TABLE} SET updated_at = ${old} WHERE lock_key = 'memory/lock:account:1'`,
      );
      await pruneFences(dataSource, { olderThan: '90m' });
      expect(await rows()).toBe(1);
      expect(await rejection(pruneFences(dataSource, { olderThan: '59m' }))).toBeInstanceOf(
        LockConfigurationError,
      );
    });

    it('retries, as the service', async () => {
      await boot({ database: { synchronize: true } });
      let runs = 0;
      const result = await app!
        .get(DistributedLockService)
        .withTransaction('account:1', { transaction: { retry: { attempts: 2 } } }, async () => {
          runs += 1;
          if (runs === 1) throw Object.assign(new Error('gave up'), { code: '40001' });
          return runs;
        });
      expect(result).toBe(2);
    });
  });
});
