import { Injectable, Module } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  getDataSourceToken,
  InjectEntityManager,
  InjectRepository,
  TypeOrmModule,
} from '@nestjs/typeorm';
import {
  DataSource,
  type EntityManager,
  type EntitySubscriberInterface,
  EventSubscriber,
  Repository,
} from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LockConfigurationError } from '../../src/distributed-lock/distributed-lock.errors.js';
import {
  lockedDataSource,
  typeormTransactions,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { describeWith } from '../support/with-services.js';
import { Account, dataSourceOf, SpecDatabase, StatementLog } from './database.js';
import { rejection, SpecHold } from './spec-hold.js';

@Injectable()
class AccountRepository extends Repository<Account> {
  constructor(dataSource: DataSource) {
    super(Account, dataSource.createEntityManager());
  }
}

@Injectable()
class AccountService {
  constructor(
    @InjectRepository(Account) readonly accounts: Repository<Account>,
    @InjectEntityManager() readonly manager: EntityManager,
    readonly dataSource: DataSource,
    readonly custom: AccountRepository,
  ) {}
}

describeWith('postgres')('adopting', () => {
  let database: SpecDatabase;
  beforeAll(async () => {
    database = await SpecDatabase.create('adoption');
  });
  afterAll(() => database.close());
  afterEach(async () => {
    await database.expectNothingLeft();
    await database.empty();
  });

  type Transactions = ReturnType<typeof typeormTransactions>;

  /** @returns whether the write was part of the locked transaction: it is gone when that is rolled back. */
  async function joins(
    transactions: Transactions,
    write: () => Promise<unknown>,
  ): Promise<boolean> {
    await rejection(
      transactions.run({}, new SpecHold(), async () => {
        await write();
        throw new Error('rolled back');
      }),
    );
    const written = (await database.owners()).length;
    await database.empty();
    return written === 0;
  }

  it('reaches repositories and managers that were made before', async () => {
    const dataSource = await database.open();
    const repository = dataSource.getRepository(Account);
    const custom = new AccountRepository(dataSource);
    const manager = dataSource.createEntityManager();
    const stranger = new AccountRepository(dataSource); // not in the container
    const transactions = typeormTransactions();
    transactions.adopt([
      undefined,
      null,
      'text',
      {},
      () => 1,
      dataSource,
      repository,
      custom,
      manager,
    ]);

    expect(await joins(transactions, () => repository.save({ owner: 'ada' }))).toBe(true);
    expect(await joins(transactions, () => custom.save({ owner: 'ada' }))).toBe(true);
    expect(await joins(transactions, () => manager.save(Account, { owner: 'ada' }))).toBe(true);
    // Control: one that adoption does not know of stays outside.
    expect(await joins(transactions, () => stranger.save({ owner: 'ada' }))).toBe(false);
  });

  it('leaves managers alone that belong to a query runner', async () => {
    const dataSource = await database.open();
    const runner = dataSource.createQueryRunner();
    const transactions = typeormTransactions();
    transactions.adopt([dataSource, runner.manager]);
    expect(await joins(transactions, () => runner.manager.save(Account, { owner: 'ada' }))).toBe(
      false,
    );
    await runner.release();
  });

  it('works before the DataSource is initialized', async () => {
    const dataSource = database.dataSource();
    const transactions = typeormTransactions();
    transactions.adopt([dataSource]);
    await dataSource.initialize();
    await expectWorks(transactions, dataSource);
  });

  it('works while the DataSource is being initialized', async () => {
    const dataSource = database.dataSource();
    const initialized = dataSource.initialize();
    const transactions = typeormTransactions();
    transactions.adopt([dataSource]);
    await initialized;
    await expectWorks(transactions, dataSource);
  });

  it('works after the DataSource was destroyed and initialized again', async () => {
    const dataSource = await database.open();
    const transactions = typeormTransactions({ dataSource });
    await expectWorks(transactions, dataSource);
    const before = dataSource.subscribers;
    await dataSource.destroy();
    await dataSource.initialize();
    expect(dataSource.subscribers).not.toBe(before); // TypeORM made a new list: ours must be in it again
    await expectWorks(transactions, dataSource);
  });

  /** Detection, joining and the check of the COMMIT: each needs its own part of the adoption. */
  async function expectWorks(transactions: Transactions, dataSource: DataSource): Promise<void> {
    expect(await dataSource.transaction(async () => transactions.openTransaction())).toBeDefined();
    expect(
      await joins(transactions, () => dataSource.getRepository(Account).save({ owner: 'ada' })),
    ).toBe(true);
    const swallowed = transactions.run({}, new SpecHold(), (manager) =>
      manager.query('SELECT nothing').catch(() => undefined),
    );
    expect(await rejection(swallowed)).toMatchObject({ code: 'TRANSACTION_ROLLED_BACK' });
  }

  it('the same DataSource twice installs once', async () => {
    const log = new StatementLog();
    const dataSource = await database.open({ logger: log });
    const first = typeormTransactions({ dataSource });
    const { createQueryRunner, subscribers } = dataSource;
    const second = typeormTransactions();
    second.adopt([dataSource, dataSource]);
    first.adopt([dataSource]);
    expect(dataSource.createQueryRunner).toBe(createQueryRunner);
    expect(dataSource.subscribers).toBe(subscribers);
    expect(dataSource.subscribers).toHaveLength(1);
    // Both know the same transactions, whichever opened them.
    log.statements.length = 0;
    await first.run({}, new SpecHold(), async () => {
      expect(second.openTransaction()).toBeDefined();
      await second.run({}, new SpecHold(), (manager) => manager.query('SELECT 1'));
    });
    expect(log.statements).toEqual(['START TRANSACTION', 'SELECT 1', 'COMMIT']);
  });

  it('keeps the subscribers of the application, also those that are added later', async () => {
    const seen: string[] = [];
    const dataSource = database.dataSource();
    const transactions = typeormTransactions({ dataSource });
    await dataSource.initialize();
    dataSource.subscribers.push({ afterTransactionCommit: () => void seen.push('commit') });
    await transactions.run({}, new SpecHold(), async () => undefined);
    expect(seen).toEqual(['commit']);
  });

  it('hears of a COMMIT before other subscribers do: one of them may throw', async () => {
    @EventSubscriber()
    class Throwing implements EntitySubscriberInterface {
      afterQuery({ query }: { query: string }): void {
        if (query === 'COMMIT') throw new Error('the metrics are down');
      }
    }
    const dataSource = await database.open({ subscribers: [Throwing] });
    const transactions = typeormTransactions({ dataSource });
    const committed = transactions.run({}, new SpecHold(), (manager) =>
      manager.insert(Account, { owner: 'ada' }),
    );
    expect(await rejection(committed)).toMatchObject({ code: 'POST_COMMIT_HOOK', committed: true });
    expect(await database.owners()).toEqual(['ada']);
  });

  it('lets a test library put its own runner into the manager', async () => {
    const dataSource = await database.open();
    const transactions = typeormTransactions({ dataSource });
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    Object.assign(dataSource.manager, { queryRunner: runner });
    await dataSource.getRepository(Account).save({ owner: 'ada' });
    await runner.rollbackTransaction();
    await runner.release();
    Object.assign(dataSource.manager, { queryRunner: undefined });
    expect(await database.owners()).toEqual([]);
    expect(
      await joins(transactions, () => dataSource.getRepository(Account).save({ owner: 'ada' })),
    ).toBe(true);
  });

  describe('chooses', () => {
    it('the only DataSource, whatever its name', async () => {
      const audit = await database.open({ name: 'audit' });
      const transactions = typeormTransactions();
      transactions.adopt([audit]);
      expect(
        await transactions.run({}, new SpecHold(), async (manager) => dataSourceOf(manager)),
      ).toBe(audit);
    });

    it('"default" among several, and any other by its name', async () => {
      const [audit, main] = [await database.open({ name: 'audit' }), await database.open()];
      const transactions = typeormTransactions();
      transactions.adopt([audit, main]);
      const used = (dataSource?: string) =>
        transactions.run(
          dataSource === undefined ? {} : { dataSource },
          new SpecHold(),
          async (manager) => dataSourceOf(manager),
        );
      expect(await used()).toBe(main);
      expect(await used('audit')).toBe(audit);
      transactions.check({ dataSource: 'audit' });
      expect(() => transactions.check({ dataSource: 'oudit' })).toThrow(
        'Option "transaction.dataSource" is "oudit"; allowed: "audit", "default".',
      );
    });

    it('the first one named', async () => {
      const [audit, main] = [await database.open({ name: 'audit' }), await database.open()];
      const transactions = typeormTransactions({ dataSource: ['audit', 'default'] });
      transactions.adopt([main, audit]);
      expect(
        await transactions.run({}, new SpecHold(), async (manager) => dataSourceOf(manager)),
      ).toBe(audit);
    });

    it('only those named: transactions of others are none of its business', async () => {
      const [audit, main] = [await database.open({ name: 'audit' }), await database.open()];
      const transactions = typeormTransactions({ dataSource: 'default' });
      transactions.adopt([main, audit]);
      expect(await audit.transaction(async () => transactions.openTransaction())).toBeUndefined();
      expect(await main.transaction(async () => transactions.openTransaction())).toBeDefined();
    });
  });

  describe('refuses', () => {
    const refusal = async (adopt: () => unknown): Promise<unknown> =>
      rejection(Promise.resolve().then(adopt));

    it('an application without a DataSource', async () => {
      const error = await refusal(() => typeormTransactions().adopt([{}]));
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(error).toMatchObject({
        message: expect.stringMatching(/^No TypeORM DataSource was found/),
      });
    });

    it('a name that no DataSource has', async () => {
      const main = database.dataSource();
      const error = await refusal(() => typeormTransactions({ dataSource: 'audit' }).adopt([main]));
      expect(error).toMatchObject({
        message: 'Option "transactions.dataSource" is "audit"; allowed: "default".',
      });
    });

    it('two DataSources of one name', async () => {
      const error = await refusal(() =>
        typeormTransactions().adopt([database.dataSource(), database.dataSource()]),
      );
      expect(error).toMatchObject({
        message: expect.stringMatching(/^Two DataSources are called "default"/),
      });
    });

    it('several without a "default", at a call that does not choose', async () => {
      const transactions = typeormTransactions();
      transactions.adopt([database.dataSource({ name: 'a' }), database.dataSource({ name: 'b' })]);
      expect(() => transactions.check({})).toThrow(
        'Option "transaction.dataSource" is undefined; allowed: "a", "b".',
      );
    });

    it('a DataSource that typeorm-transactional has patched', async () => {
      const dataSource = database.dataSource();
      // What addTransactionalDataSource does to it.
      const { manager } = dataSource;
      Object.defineProperty(dataSource, 'manager', { configurable: true, get: () => manager });
      const error = await refusal(() => typeormTransactions().adopt([dataSource]));
      expect(error).toMatchObject({ message: expect.stringContaining('typeorm-transactional') });
    });

    it('a locked call before it has happened', async () => {
      const error = await rejection(
        typeormTransactions().run({}, new SpecHold(), async () => undefined),
      );
      expect(error).toMatchObject({ code: 'LOCK_CONFIGURATION', methodRan: false });
    });
  });

  describe('in a Nest application', () => {
    @Module({
      imports: [TypeOrmModule.forFeature([Account])],
      providers: [AccountService, AccountRepository],
    })
    class AccountModule {}

    async function boot(root: ReturnType<typeof TypeOrmModule.forRoot>) {
      const app = await Test.createTestingModule({ imports: [root, AccountModule] }).compile();
      const transactions = typeormTransactions();
      const modules = [...app.get(ModulesContainer).values()];
      const instances = modules.flatMap(({ providers }) =>
        [...providers.values()].map(({ instance }) => instance),
      );
      return { app, transactions, instances };
    }

    it('everything that was injected joins, without any change to it', async () => {
      const { app, transactions, instances } = await boot(
        TypeOrmModule.forRoot(database.options()),
      );
      transactions.adopt(instances);
      const service = app.get(AccountService);
      expect(await joins(transactions, () => service.accounts.save({ owner: 'ada' }))).toBe(true);
      expect(await joins(transactions, () => service.custom.save({ owner: 'ada' }))).toBe(true);
      expect(await joins(transactions, () => service.manager.save(Account, { owner: 'ada' }))).toBe(
        true,
      );
      expect(
        await joins(transactions, () => service.dataSource.manager.save(Account, { owner: 'ada' })),
      ).toBe(true);
      await app.close();
    });

    it('with lockedDataSource, repositories join that no container knows', async () => {
      const { app, transactions, instances } = await boot(
        TypeOrmModule.forRootAsync({
          useFactory: () => database.options(),
          dataSourceFactory: lockedDataSource,
        }),
      );
      const dataSource = app.get<DataSource>(getDataSourceToken());
      const early = new AccountRepository(dataSource);
      transactions.adopt(instances.filter((instance) => instance instanceof DataSource));
      expect(await joins(transactions, () => early.save({ owner: 'ada' }))).toBe(true);
      await app.close();
    });

    it('lockedDataSource initializes, unless Nest is told to do that by hand', async () => {
      const initialized = await lockedDataSource(database.options());
      expect(initialized.isInitialized).toBe(true);
      await initialized.destroy();
      const byHand = { ...database.options(), manualInitialization: true };
      expect((await lockedDataSource(byHand)).isInitialized).toBe(false);
    });
  });
});
