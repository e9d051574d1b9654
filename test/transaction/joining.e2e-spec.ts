import type { DataSource } from 'typeorm';
import { type EntityManager, Repository } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { describeWith } from '../support/with-services.js';
import { Account, Note, pool, SpecDatabase } from './database.js';
import { Gate, rejection, SpecHold } from './spec-hold.js';

/** As `@nestjs/typeorm` users write it. */
class AccountRepository extends Repository<Account> {
  constructor(dataSource: DataSource) {
    super(Account, dataSource.createEntityManager());
  }
  async open(owner: string): Promise<void> {
    await this.save({ owner });
  }
}

describeWith('postgres')('inside a locked transaction', () => {
  let database: SpecDatabase;
  let dataSource: DataSource;
  let plain: DataSource;
  let transactions: ReturnType<typeof typeormTransactions>;
  /** Made before the transaction, as dependency injection does. */
  let injected: {
    dataSource: DataSource;
    manager: EntityManager;
    accounts: Repository<Account>;
    custom: AccountRepository;
    extended: Repository<Account> & { open(owner: string): Promise<unknown> };
  };

  const injectedOf = (source: DataSource): typeof injected => ({
    dataSource: source,
    manager: source.manager,
    accounts: source.getRepository(Account),
    custom: new AccountRepository(source),
    extended: source.getRepository(Account).extend({
      open(this: Repository<Account>, owner: string) {
        return this.insert({ owner });
      },
    }),
  });

  beforeAll(async () => {
    database = await SpecDatabase.create('joining');
    dataSource = await database.open({ poolSize: 20 });
    transactions = typeormTransactions({ dataSource });
    injected = injectedOf(dataSource);
    plain = await database.open();
  });
  afterAll(() => database.close());
  beforeEach(() => Note.useDataSource(dataSource));
  afterEach(async () => {
    await database.expectNothingLeft();
    await database.empty();
  });

  const insert = `INSERT INTO account (owner) VALUES ('ada')`;
  /** Every way to write one row that is not the manager handed to the method. */
  const paths: [string, (own: typeof injected, outer: EntityManager) => Promise<unknown>][] = [
    ['repository.save', ({ accounts }) => accounts.save({ owner: 'ada' })],
    ['repository.insert', ({ accounts }) => accounts.insert({ owner: 'ada' })],
    ['repository.upsert', ({ accounts }) => accounts.upsert({ id: 1, owner: 'ada' }, ['id'])],
    ['repository.query', ({ accounts }) => accounts.query(insert)],
    [
      'repository.createQueryBuilder',
      ({ accounts }) => accounts.createQueryBuilder().insert().values({ owner: 'ada' }).execute(),
    ],
    ['repository.manager.save', ({ accounts }) => accounts.manager.save(Account, { owner: 'ada' })],
    ['repository.extend', ({ extended }) => extended.open('ada')],
    ['a custom repository class', ({ custom }) => custom.open('ada')],
    [
      'a repository obtained inside',
      (own) => own.dataSource.getRepository(Account).save({ owner: 'ada' }),
    ],
    ['the injected manager: insert', ({ manager }) => manager.insert(Account, { owner: 'ada' })],
    ['the injected manager: save', ({ manager }) => manager.save(Account, { owner: 'ada' })],
    ['the injected manager: query', ({ manager }) => manager.query(insert)],
    [
      'manager.getRepository',
      ({ manager }) => manager.getRepository(Account).insert({ owner: 'ada' }),
    ],
    [
      'manager.withRepository',
      ({ manager, extended }) => manager.withRepository(extended).insert({ owner: 'ada' }),
    ],
    ['dataSource.manager', (own) => own.dataSource.manager.insert(Account, { owner: 'ada' })],
    ['dataSource.query', (own) => own.dataSource.query(insert)],
    ['dataSource.sql', (own) => own.dataSource.sql`INSERT INTO account (owner) VALUES (${'ada'})`],
    [
      'dataSource.createQueryBuilder()',
      (own) =>
        own.dataSource
          .createQueryBuilder()
          .insert()
          .into(Account)
          .values({ owner: 'ada' })
          .execute(),
    ],
    [
      'dataSource.createQueryBuilder(entity, alias)',
      (own) =>
        own.dataSource.createQueryBuilder(Account, 'a').insert().values({ owner: 'ada' }).execute(),
    ],
    [
      'dataSource.createEntityManager()',
      (own) => own.dataSource.createEntityManager().insert(Account, { owner: 'ada' }),
    ],
    [
      'dataSource.transaction',
      (own) => own.dataSource.transaction((m) => m.insert(Account, { owner: 'ada' })),
    ],
    ['ActiveRecord: instance.save', () => Object.assign(new Note(), { text: 'ada' }).save()],
    ['ActiveRecord: Class.insert', () => Note.insert({ text: 'ada' })],
    [
      'ActiveRecord: createQueryBuilder',
      () => Note.createQueryBuilder().insert().values({ text: 'ada' }).execute(),
    ],
  ];
  const rows = async () => {
    const [{ count }] = await database.observer.query<[{ count: number }]>(
      'SELECT (SELECT count(*) FROM account)::int + (SELECT count(*) FROM note)::int AS count',
    );
    return count;
  };

  it.each(paths)('%s joins it', async (_path, write) => {
    await rejection(
      transactions.run({}, new SpecHold(), async (manager) => {
        await write(injected, manager);
        expect(await rows()).toBe(0); // not visible from outside: not committed by itself
        throw new Error('rolled back');
      }),
    );
    expect(await rows()).toBe(0);

    await transactions.run({}, new SpecHold(), (manager) => write(injected, manager));
    expect(await rows()).toBe(1);
  });

  it.each(paths)('control: %s does not, in a plain TypeORM transaction', async (_path, write) => {
    Note.useDataSource(plain);
    await rejection(
      plain.transaction(async (manager) => {
        await write(injectedOf(plain), manager);
        throw new Error('rolled back');
      }),
    );
    expect(await rows()).toBe(1);
  });

  it('reads see its own uncommitted writes', async () => {
    await transactions.run({}, new SpecHold(), async (manager) => {
      await manager.insert(Account, { owner: 'ada' });
      expect(await injected.accounts.find()).toHaveLength(1);
      expect(await injected.custom.countBy({ owner: 'ada' })).toBe(1);
      expect(await injected.manager.existsBy(Account, { owner: 'ada' })).toBe(true);
      expect(await dataSource.createQueryBuilder(Account, 'a').getCount()).toBe(1);
      expect(
        await injected.accounts.createQueryBuilder('a').setLock('pessimistic_write').getMany(),
      ).toHaveLength(1);
    });
  });

  it('dataSource.transaction is a savepoint: its failure undoes only its own work', async () => {
    await transactions.run({}, new SpecHold(), async () => {
      await injected.accounts.insert({ owner: 'outer' });
      await rejection(
        dataSource.transaction(async (nested) => {
          await nested.insert(Account, { owner: 'inner' });
          await injected.accounts.insert({ owner: 'inner, injected' });
          throw new Error('inner');
        }),
      );
      await dataSource.transaction((nested) => nested.insert(Account, { owner: 'second' }));
    });
    expect(await database.owners()).toEqual(['outer', 'second']);
  });

  it('a query runner of one s own stays its own: another connection', async () => {
    await transactions.run({}, new SpecHold(), async (manager) => {
      const runner = dataSource.createQueryRunner();
      const [own] = await runner.query('SELECT pg_backend_pid() AS pid');
      const [joined] = await manager.query<{ pid: number }[]>('SELECT pg_backend_pid() AS pid');
      await runner.release();
      expect(own).not.toEqual(joined);
    });
  });

  it('a repository that was first asked for inside works outside afterwards', async () => {
    const fresh = await database.open();
    const own = typeormTransactions({ dataSource: fresh });
    const repository = await own.run({}, new SpecHold(), async () => fresh.getRepository(Account));
    expect(repository.queryRunner).toBeUndefined();
    await repository.insert({ owner: 'ada' });
    expect(await database.owners()).toEqual(['ada']);
  });

  it('entities and their managers can be used after it', async () => {
    const account = await transactions.run({}, new SpecHold(), () =>
      injected.accounts.save({ owner: 'ada' }),
    );
    await injected.accounts.save({ id: account.id, owner: 'bob' });
    expect(await database.owners()).toEqual(['bob']);
  });

  it('limit: a query builder that was built outside stays outside', async () => {
    const builder = injected.accounts.createQueryBuilder().insert().values({ owner: 'ada' });
    await rejection(
      transactions.run({}, new SpecHold(), async () => {
        await builder.execute();
        throw new Error('rolled back');
      }),
    );
    expect(await rows()).toBe(1);
  });

  describe('200 at the same time', () => {
    const backend = async (query: (sql: string) => Promise<unknown>) => {
      const [{ pid }] = (await query('SELECT pg_backend_pid() AS pid')) as [{ pid: number }];
      return pid;
    };
    /** @returns how many statements ran on a connection that was not their transaction's. */
    async function foreign(
      run: (work: (own: EntityManager) => Promise<number>) => Promise<number>,
    ): Promise<number> {
      const counts = await Promise.all(
        Array.from({ length: 200 }, (_, i) =>
          run(async (manager) => {
            const own = await backend((sql) => manager.query(sql));
            const seen = [
              await backend((sql) => injected.accounts.query(sql)),
              await backend((sql) => injected.manager.query(sql)),
              await backend((sql) => dataSource.query(sql)),
            ];
            await injected.accounts.save({ owner: `${i}` });
            seen.push(
              await dataSource.transaction((nested) => backend((sql) => nested.query(sql))),
            );
            return seen.filter((pid) => pid !== own).length;
          }),
        ),
      );
      return counts.reduce((sum, each) => sum + each, 0);
    }

    it('never use the connection of another one', async () => {
      expect(await foreign((work) => transactions.run({}, new SpecHold(), work))).toBe(0);
      expect(await rows()).toBe(200);
    });

    it('control: the same work in plain transactions does', async () => {
      expect(pool(dataSource).totalCount).toBeGreaterThan(1);
      // On a runner each, as many at a time as leave connections for the repositories: else the pool is a deadlock.
      let free = 5;
      const waiting: (() => void)[] = [];
      const found = await foreign(async (work) => {
        if (free > 0) free -= 1;
        else await new Promise<void>((resolve) => waiting.push(resolve));
        const runner = dataSource.createQueryRunner();
        try {
          return await runner.manager.transaction(work);
        } finally {
          await runner.release();
          const next = waiting.shift();
          if (next === undefined) free += 1;
          else next();
        }
      });
      expect(found).toBeGreaterThan(0);
    });
  });

  it('two DataSources in one chain are told apart', async () => {
    const other = await database.open({ name: 'other' });
    const both = typeormTransactions({ dataSource: [dataSource, other] });
    await both.run({}, new SpecHold('a'), async () => {
      await injected.accounts.insert({ owner: 'first' });
      await rejection(
        both.run({ dataSource: 'other' }, new SpecHold('a'), async (manager) => {
          expect(manager.dataSource).toBe(other);
          await injected.accounts.insert({ owner: 'first again' });
          await other.getRepository(Account).insert({ owner: 'second' });
          throw new Error('only the second is rolled back');
        }),
      );
    });
    expect(await database.owners()).toEqual(['first', 'first again']);
  });

  it('waiting for the end of one, others go on', async () => {
    const opened = new Gate();
    const close = new Gate();
    const slow = transactions.run({}, new SpecHold(), async () => {
      await injected.accounts.insert({ owner: 'slow' });
      opened.open();
      await close.passed();
    });
    await opened.passed();
    await injected.accounts.insert({ owner: 'quick' });
    expect(await database.owners()).toEqual(['quick']);
    close.open();
    await slow;
    expect(await database.owners()).toHaveLength(2);
  });
});
