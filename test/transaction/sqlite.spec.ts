import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource, type EntityManager, type EntitySubscriberInterface } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  afterCommit,
  type TypeOrmTransactionRunner,
  typeormTransactions,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { Account, StatementLog } from './database.js';
import { Gate, rejection, SpecHold } from './spec-hold.js';

/** One database file; each DataSource on it is a process of its own, as far as SQLite can tell. */
describe('locked transactions on sqlite', () => {
  let directory: string;
  const opened: DataSource[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'locked-sqlite-'));
  });
  afterEach(async () => {
    for (const dataSource of opened.splice(0)) await dataSource.destroy();
    rmSync(directory, { recursive: true });
  });

  async function open(log = new StatementLog()): Promise<DataSource> {
    const dataSource = new DataSource({
      type: 'better-sqlite3',
      database: join(directory, 'app.sqlite'),
      enableWAL: true,
      timeout: 1, // milliseconds until "busy": better-sqlite3 waits synchronously
      entities: [Account],
      synchronize: true,
      logger: log,
    });
    opened.push(dataSource);
    return dataSource.initialize();
  }

  async function adopted(log?: StatementLog) {
    const dataSource = await open(log);
    const transactions = typeormTransactions({ dataSource });
    transactions.bind({ store: 'memory', namespace: 'spec', hasFencingTokens: true });
    await transactions.verify();
    await dataSource.getRepository(Account).save({ id: 1, owner: 'ann', balance: 100 });
    return { dataSource, transactions };
  }

  const balance = async (manager: EntityManager) =>
    (await manager.findOneByOrFail(Account, { id: 1 })).balance;
  const add = async (manager: EntityManager, amount: number) => {
    const before = await balance(manager);
    await new Promise(setImmediate); // let the others come between
    await manager.update(Account, 1, { balance: before + amount });
  };
  const owners = async (dataSource: DataSource) =>
    (await dataSource.getRepository(Account).find({ order: { owner: 'ASC' } })).map(
      ({ owner }) => owner,
    );
  let token = 0n;
  const locked = <T>(
    transactions: TypeOrmTransactionRunner,
    work: (manager: EntityManager) => Promise<T>,
    hold = new SpecHold('account:1', ++token),
  ) => transactions.run({}, hold, work);

  it('go one after the other, also between plain ones: 60 increments at a time lose none', async () => {
    const { dataSource, transactions } = await adopted();
    await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        index % 2 === 0
          ? locked(transactions, (manager) => add(manager, 1))
          : dataSource.transaction((manager) => add(manager, 1)),
      ),
    );
    expect(await balance(dataSource.manager)).toBe(160);
  });

  it('control: TypeORM alone sends the second BEGIN into the first transaction', async () => {
    const dataSource = await open();
    await dataSource.getRepository(Account).save({ id: 1, owner: 'ann', balance: 100 });
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, () => dataSource.transaction((manager) => add(manager, 1))),
    );
    expect(results.some(({ status }) => status === 'rejected')).toBe(true);
    expect(await balance(dataSource.manager)).not.toBe(110);
  });

  it('begin in the order in which they ask', async () => {
    const { transactions } = await adopted();
    const order: number[] = [];
    const gate = new Gate();
    const first = locked(transactions, () => gate.passed());
    const others = [1, 2, 3, 4].map((each) => locked(transactions, async () => order.push(each)));
    gate.open();
    await Promise.all([first, ...others]);
    expect(order).toEqual([1, 2, 3, 4]);
  });

  describe('what others do meanwhile', () => {
    const meanwhile = async (
      dataSource: DataSource,
      transaction: (work: (manager: EntityManager) => Promise<void>) => Promise<void>,
    ) => {
      const inside = new Gate();
      const gate = new Gate();
      const failing = transaction(async (manager) => {
        await manager.insert(Account, { owner: 'rolled back', balance: 0 });
        inside.open();
        await gate.passed();
        throw new Error('no');
      });
      await inside.passed();
      const saved = dataSource.getRepository(Account).save({ owner: 'bob', balance: 0 });
      const updated = dataSource.getRepository(Account).insert({ owner: 'cid', balance: 0 });
      await new Promise(setImmediate);
      gate.open();
      await rejection(failing);
      await Promise.allSettled([saved, updated]);
    };

    it('is not part of them, and not rolled back with them', async () => {
      const { dataSource, transactions } = await adopted();
      await meanwhile(dataSource, (work) => locked(transactions, work));
      expect(await owners(dataSource)).toEqual(['ann', 'bob', 'cid']);
    });

    it('control: with TypeORM alone, it is', async () => {
      const dataSource = await open();
      await meanwhile(dataSource, (work) => dataSource.transaction(work));
      expect(await owners(dataSource)).not.toEqual(['bob', 'cid']);
    });
  });

  it('are joined by repositories; a nested transaction is a savepoint', async () => {
    const log = new StatementLog();
    const { dataSource, transactions } = await adopted(log);
    log.statements.length = 0;
    await locked(transactions, async () => {
      await dataSource.getRepository(Account).insert({ owner: 'bob' });
      await rejection(
        dataSource.transaction(async (nested) => {
          await nested.insert(Account, { owner: 'cid' });
          throw new Error('no');
        }),
      );
    });
    expect(await owners(dataSource)).toEqual(['ann', 'bob']);
    expect(log.statements.filter((each) => each.startsWith('BEGIN'))).toHaveLength(1);
  });

  it('leave plain transactions as they are: what is opened inside one is a savepoint of it', async () => {
    const { dataSource } = await adopted();
    await dataSource.transaction(async (manager) => {
      await manager.insert(Account, { owner: 'bob' });
      await dataSource.getRepository(Account).save({ owner: 'cid' }); // a runner of its own
      await rejection(
        dataSource.transaction(async (inner) => {
          await inner.insert(Account, { owner: 'dan' });
          throw new Error('no');
        }),
      );
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Account, { owner: 'eve' });
      await runner.rollbackTransaction();
      expect(runner.isTransactionActive).toBe(false);
      await runner.release();
    });
    expect(await owners(dataSource)).toEqual(['ann', 'bob', 'cid']);
  });

  it('may be followed by hooks and callbacks that use the database', async () => {
    const { dataSource, transactions } = await adopted();
    const seen: number[] = [];
    const hook: EntitySubscriberInterface = {
      afterTransactionCommit: async () => void seen.push(await balance(dataSource.manager)),
    };
    dataSource.subscribers.push(hook);
    await locked(transactions, async (manager) => {
      await add(manager, 1);
      afterCommit(async () => seen.push(await balance(dataSource.manager)));
    });
    expect(seen).toEqual([101, 101]);
  });

  it('go on after a runner was given back with its transaction open: that is rolled back', async () => {
    const { dataSource, transactions } = await adopted();
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    await runner.manager.insert(Account, { owner: 'forgotten' });
    await runner.release();
    await locked(transactions, (manager) => add(manager, 1));
    expect(await balance(dataSource.manager)).toBe(101);
    expect(await owners(dataSource)).toEqual(['ann']);
    await expect(runner.query('SELECT 1')).rejects.toThrow(/released/i);
  });

  it('look at the hold when their turn has come', async () => {
    const { dataSource, transactions } = await adopted();
    const gate = new Gate();
    const first = locked(transactions, () => gate.passed());
    const hold = new SpecHold('account:1', ++token);
    const late = rejection(locked(transactions, (manager) => add(manager, 1), hold));
    hold.lose();
    gate.open();
    await first;
    expect(await late).toMatchObject({ code: 'LOCK_LOST', methodRan: false, committed: false });
    expect(await balance(dataSource.manager)).toBe(100);
  });

  it('a COMMIT that a constraint refuses is rolled back, and the caller gets that error', async () => {
    const { dataSource, transactions } = await adopted();
    await dataSource.query(
      'CREATE TABLE part (whole INTEGER REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED)',
    );
    const error = await rejection(
      locked(transactions, (manager) => manager.query('INSERT INTO part VALUES (77)')),
    );
    expect(error).toMatchObject({ driverError: { code: 'SQLITE_CONSTRAINT_FOREIGNKEY' } });
    expect(await dataSource.query('SELECT count(*) AS n FROM part')).toEqual([{ n: 0 }]);
    await locked(transactions, (manager) => add(manager, 1));
  });

  describe('of two processes', () => {
    it('the one with the older token is refused, whatever its lock says', async () => {
      const a = await adopted();
      const b = await adopted();
      const evicted = new SpecHold('account:1', ++token);
      const newer = new SpecHold('account:1', ++token);
      evicted.isConfirmed = false;
      await locked(b.transactions, (manager) => add(manager, 10), newer);
      const error = await rejection(
        locked(a.transactions, (manager) => add(manager, 100), evicted),
      );
      expect(error).toMatchObject({ code: 'STALE_FENCING_TOKEN', committed: false });
      expect(await balance(a.dataSource.manager)).toBe(110);
    });

    it('control: unfenced, it overwrites', async () => {
      const a = await adopted();
      const b = await adopted();
      const before = await balance(a.dataSource.manager); // and was paused here
      await locked(b.transactions, (manager) => add(manager, 10));
      await a.transactions.run({ fenced: false }, new SpecHold('account:1', 1n), (manager) =>
        manager.update(Account, 1, { balance: before + 100 }),
      );
      expect(await balance(a.dataSource.manager)).toBe(200);
    });

    it('the one that finds the file busy at the fence is tried again, under the same lock', async () => {
      const a = await adopted();
      const b = await adopted();
      const inside = new Gate();
      const gate = new Gate();
      const first = locked(a.transactions, async (manager) => {
        await add(manager, 1);
        inside.open();
        await gate.passed();
      });
      await inside.passed();
      const hold = new SpecHold('account:1', ++token);
      let looks = 0;
      hold.onCheck = () => {
        looks += 1;
        if (looks === 3) gate.open(); // it was refused once, and comes again
      };
      await locked(b.transactions, (manager) => add(manager, 1), hold);
      await first;
      expect(await balance(a.dataSource.manager)).toBe(102);
    });
  });
});
