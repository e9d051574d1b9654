import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { DataSource, EntitySubscriberInterface, QueryRunner } from 'typeorm';
import { EntityManager, type Repository } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { describeWith } from '../support/with-services.js';
import { until } from '../support/until.js';
import { Account, SpecDatabase } from './database.js';
import { Gate, rejection, SpecHold } from './spec-hold.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** A unit of work as applications write it: the runner is made in the constructor, the transaction opened later. */
class UnitOfWork {
  readonly runner: QueryRunner;
  constructor(dataSource: DataSource) {
    this.runner = dataSource.createQueryRunner();
  }
  async start(): Promise<void> {
    await this.runner.connect();
    await this.runner.startTransaction();
  }
  async finish(): Promise<void> {
    await this.runner.commitTransaction();
    await this.runner.release();
  }
}

describeWith('postgres')('an open transaction', () => {
  let database: SpecDatabase;
  let dataSource: DataSource;
  let accounts: Repository<Account>;
  let transactions: ReturnType<typeof typeormTransactions>;
  const inTransaction = () => transactions.openTransaction() !== undefined;

  beforeAll(async () => {
    database = await SpecDatabase.create('detection');
    dataSource = await database.open({ poolSize: 24 });
    accounts = dataSource.getRepository(Account);
    transactions = typeormTransactions({ dataSource });
  });
  afterAll(() => database.close());
  // Each test starts in a chain of its own, as each request does.
  afterEach(async () => {
    await database.expectNothingLeft();
    await database.empty();
  });

  /** A helper that connects before it starts. */
  async function begin(): Promise<QueryRunner> {
    const runner = dataSource.createQueryRunner();
    await runner.connect();
    await runner.startTransaction();
    return runner;
  }

  async function end(runner: QueryRunner): Promise<void> {
    await runner.commitTransaction();
    await runner.release();
  }

  it('is not seen where there is none', () => {
    expect(inTransaction()).toBe(false);
  });

  describe('is seen', () => {
    it.each<[string, (work: () => Promise<unknown>) => Promise<unknown>]>([
      ['dataSource.transaction', (work) => dataSource.transaction(work)],
      [
        'dataSource.transaction with a level',
        (work) => dataSource.transaction('SERIALIZABLE', work),
      ],
      ['dataSource.manager.transaction', (work) => dataSource.manager.transaction(work)],
      ['repository.manager.transaction', (work) => accounts.manager.transaction(work)],
      [
        'createEntityManager().transaction',
        (work) => dataSource.createEntityManager().transaction(work),
      ],
      [
        'new EntityManager().transaction',
        (work) => new EntityManager(dataSource).transaction(work),
      ],
      [
        'queryRunner.manager.transaction',
        async (work) => {
          const runner = dataSource.createQueryRunner();
          await runner.manager.transaction(work);
          await runner.release();
        },
      ],
    ])('in %s, and not after it', async (_how, transaction) => {
      let seen: unknown;
      await transaction(async () => {
        await accounts.count();
        seen = inTransaction();
      });
      expect(seen).toBe(true);
      expect(inTransaction()).toBe(false);
    });

    it('in a savepoint, and after it in the outer transaction', async () => {
      await dataSource.transaction(async (manager) => {
        await manager.transaction(async () => expect(inTransaction()).toBe(true));
        expect(inTransaction()).toBe(true);
        await rejection(manager.transaction(() => Promise.reject(new Error('inner'))));
        expect(inTransaction()).toBe(true);
      });
    });

    it('in functions that are called from it, however deep', async () => {
      const deep = async (levels: number): Promise<boolean> => {
        await Promise.resolve();
        return levels === 0 ? inTransaction() : deep(levels - 1);
      };
      expect(await dataSource.transaction(() => deep(10))).toBe(true);
    });

    it('with a query runner in the same function', async () => {
      const runner = dataSource.createQueryRunner();
      await runner.connect();
      expect(inTransaction()).toBe(false);
      await runner.startTransaction();
      expect(inTransaction()).toBe(true);
      await end(runner);
      expect(inTransaction()).toBe(false);
    });

    it('with a query runner that was rolled back: not after it', async () => {
      const runner = await begin();
      await runner.rollbackTransaction();
      expect(inTransaction()).toBe(false);
      await runner.release();
    });

    it('through a helper that awaits the connection first', async () => {
      const runner = await begin();
      expect(inTransaction()).toBe(true);
      await end(runner);
      expect(inTransaction()).toBe(false);
    });

    it('through a unit of work', async () => {
      const unit = new UnitOfWork(dataSource);
      await unit.start();
      expect(inTransaction()).toBe(true);
      await unit.finish();
      expect(inTransaction()).toBe(false);
    });

    it('in the second transaction of the same runner', async () => {
      const runner = await begin();
      await runner.commitTransaction();
      expect(inTransaction()).toBe(false);
      await runner.startTransaction();
      expect(inTransaction()).toBe(true);
      await end(runner);
    });

    it('in the transaction that save() opens by itself', async () => {
      const seen: boolean[] = [];
      const subscriber: EntitySubscriberInterface = {
        afterInsert: () => void seen.push(inTransaction()),
      };
      dataSource.subscribers.push(subscriber);
      await accounts.save({ owner: 'ada' });
      dataSource.subscribers.splice(dataSource.subscribers.indexOf(subscriber), 1);
      expect(seen).toEqual([true]);
      expect(inTransaction()).toBe(false);
    });

    it('by the hooks of a locked transaction before its commit, not by those after it', async () => {
      const seen: [string, boolean][] = [];
      const subscriber: EntitySubscriberInterface = {
        beforeTransactionCommit: () => void seen.push(['before', inTransaction()]),
        afterTransactionCommit: () => void seen.push(['after', inTransaction()]),
        beforeTransactionRollback: () => void seen.push(['before', inTransaction()]),
      };
      dataSource.subscribers.push(subscriber);
      await transactions.run({}, new SpecHold(), async () => undefined);
      await rejection(transactions.run({}, new SpecHold(), () => Promise.reject(new Error('no'))));
      dataSource.subscribers.splice(dataSource.subscribers.indexOf(subscriber), 1);
      expect(seen).toEqual([
        ['before', true],
        ['after', false],
        ['before', true],
      ]);
    });

    it('in a locked transaction, and not after it', async () => {
      const seen = await transactions.run({}, new SpecHold(), async () => inTransaction());
      expect(seen).toBe(true);
      expect(inTransaction()).toBe(false);
    });
  });

  describe('is not seen', () => {
    it('after it was rolled back', async () => {
      await rejection(dataSource.transaction(() => Promise.reject(new Error('no'))));
      expect(inTransaction()).toBe(false);
    });

    it('by work that was not awaited, once the transaction has ended', async () => {
      const ended = new Gate();
      let late!: Promise<boolean>;
      await dataSource.transaction(async () => {
        late = ended.passed().then(inTransaction);
      });
      ended.open();
      expect(await late).toBe(false);
    });

    it.each<[string, () => { transaction(work: () => Promise<unknown>): Promise<unknown> }]>([
      ['dataSource', () => dataSource],
      ['dataSource.manager', () => dataSource.manager],
      ['dataSource.createEntityManager()', () => dataSource.createEntityManager()],
    ])('by a sibling of %s.transaction in Promise.all', async (_root, root) => {
      const opened = new Gate();
      const looked = new Gate();
      const [, sibling] = await Promise.all([
        root().transaction(async () => {
          opened.open();
          await looked.passed();
        }),
        opened.passed().then(async () => {
          const seen = inTransaction();
          await accounts.count();
          looked.open();
          return seen || inTransaction();
        }),
      ]);
      expect(sibling).toBe(false);
    });

    it('by a sibling next to a find() and a query()', async () => {
      const opened = new Gate();
      const looked = new Gate();
      const [, , , sibling] = await Promise.all([
        accounts.find(),
        dataSource.query('SELECT 1'),
        dataSource.transaction(async () => {
          opened.open();
          await looked.passed();
        }),
        opened.passed().then(() => {
          looked.open();
          return inTransaction();
        }),
      ]);
      expect(sibling).toBe(false);
    });

    it('by another request, while one runs', async () => {
      const opened = new Gate();
      const looked = new Gate();
      const request = (async () => {
        await Promise.resolve();
        const runner = await begin();
        opened.open();
        await looked.passed();
        await end(runner);
      })();
      await opened.passed();
      expect(inTransaction()).toBe(false);
      looked.open();
      await request;
    });

    it('by requests beside a long-lived runner in its second transaction', async () => {
      const runner = await begin(); // at boot: every request descends from here
      await runner.commitTransaction();
      const opened = new Gate();
      const looked = new Gate();
      const job = Promise.resolve().then(async () => {
        await runner.startTransaction();
        opened.open();
        await looked.passed();
        await runner.commitTransaction();
      });
      await opened.passed();
      const seen = await Promise.resolve().then(inTransaction);
      looked.open();
      await job;
      await runner.release();
      expect(seen).toBe(false);
    });

    it('once its runner was released, even if its connection had died', async () => {
      const runner = await begin();
      const [{ pid }] = (await runner.query('SELECT pg_backend_pid() AS pid')) as [{ pid: number }];
      await database.observer.query('SELECT pg_terminate_backend($1)', [pid]);
      await rejection(runner.query('SELECT 1'));
      await rejection(runner.rollbackTransaction());
      await runner.release();
      expect(runner.isTransactionActive).toBe(true); // why the flag of the runner is not enough
      expect(inTransaction()).toBe(false);
    });

    it('inside outside()', async () => {
      await dataSource.transaction(async () => {
        expect(await transactions.outside(async () => inTransaction())).toBe(false);
        expect(inTransaction()).toBe(true);
      });
    });

    it('by a runner that works on another DataSource', async () => {
      const other = await database.open({ name: 'other' });
      const others = typeormTransactions({ dataSource: other });
      await dataSource.transaction(async () => {
        expect(others.openTransaction()).toBeUndefined();
        expect(inTransaction()).toBe(true);
      });
      await other.transaction(async () => {
        expect(others.openTransaction()).toMatchObject({ dataSource: 'other' });
        expect(inTransaction()).toBe(false);
      });
    });
  });

  it('is told apart in 40 concurrent chains, half of them inside one', async () => {
    const everybodyStarted = new Gate();
    let started = 0;
    const arrive = async () => {
      started += 1;
      if (started === 20) everybodyStarted.open();
      await everybodyStarted.passed();
    };
    const seen = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        await Promise.resolve();
        if (i % 2 === 1) {
          await everybodyStarted.passed();
          await accounts.count();
          return inTransaction();
        }
        if (i % 4 === 0) return dataSource.transaction(() => arrive().then(inTransaction));
        const runner = await begin();
        await arrive();
        const here = inTransaction();
        await end(runner);
        return here;
      }),
    );
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i % 2 === 0));
  });

  it('does not make a chain grow that opens many: ended ones are forgotten', async () => {
    const runners: WeakRef<QueryRunner>[] = [];
    const turn = async () => {
      const runner = await begin();
      runners.push(new WeakRef(runner));
      await end(runner);
      await accounts.count();
    };
    for (let i = 0; i < 50; i += 1) await turn();
    // Only one that a chain still points to may stay; a chain that grew would keep all of them.
    await until('the runners to be collected', () => {
      collectGarbage();
      return runners.filter((runner) => runner.deref() !== undefined).length <= 2;
    });
  });

  describe('has limits', () => {
    it('1, a false alarm: a sibling of startTransaction() that was started unawaited in the same tick', async () => {
      const runner = dataSource.createQueryRunner();
      await runner.connect();
      const start = runner.startTransaction();
      expect(inTransaction()).toBe(true);
      expect(transactions.outside(inTransaction)).toBe(false); // the way out
      await start;
      await end(runner);
    });

    it('2, a miss: a helper that awaits something before it makes its runner', async () => {
      const slow = async () => {
        await accounts.count();
        return begin();
      };
      const runner = await slow();
      expect(inTransaction()).toBe(false);
      await end(runner);
    });

    it('3, a miss: BEGIN as raw SQL', async () => {
      const runner = dataSource.createQueryRunner();
      await runner.query('BEGIN');
      expect(inTransaction()).toBe(false);
      await runner.query('ROLLBACK');
      await runner.release();
    });

    it('4, a miss: the second transaction of a unit of work, opened by an awaiting method', async () => {
      const unit = new UnitOfWork(dataSource);
      await unit.start();
      await unit.runner.commitTransaction();
      const again = async () => {
        await accounts.count();
        await unit.runner.startTransaction();
      };
      await again();
      expect(inTransaction()).toBe(false);
      await unit.finish();
    });

    it('5, a false alarm: beside the first transaction of a runner that was made before the chains parted', async () => {
      const runner = dataSource.createQueryRunner(); // at boot: every request descends from here
      const opened = new Gate();
      const looked = new Gate();
      const job = Promise.resolve().then(async () => {
        await runner.startTransaction();
        opened.open();
        await looked.passed();
        await runner.commitTransaction();
      });
      await opened.passed();
      const seen = await Promise.resolve().then(inTransaction);
      looked.open();
      await job;
      await runner.release();
      expect(seen).toBe(true);
    });
  });

  describe('says where it was opened', () => {
    class Checkout {
      open(): Promise<string | null | undefined> {
        return dataSource.transaction(async () => {
          await accounts.count();
          return transactions.openTransaction()?.openedAt;
        });
      }
      async withRunner(): Promise<QueryRunner> {
        const runner = dataSource.createQueryRunner();
        await runner.connect();
        await runner.startTransaction();
        return runner;
      }
    }
    const here = /^Checkout\.\w+ \(test\/transaction\/detection\.e2e-spec\.ts:\d+:\d+\)$/;

    it('for a callback', async () => {
      expect(await new Checkout().open()).toMatch(here);
    });

    it('for a query runner', async () => {
      const runner = await new Checkout().withRunner();
      expect(transactions.openTransaction()?.openedAt).toMatch(here);
      await end(runner);
    });

    it('for a locked transaction: the method', async () => {
      const openedAt = await transactions.run(
        {},
        new SpecHold(),
        async () => transactions.openTransaction()?.openedAt,
      );
      expect(openedAt).toBe('Bar.checkout');
    });

    it('unless told not to', async () => {
      const other = await database.open();
      const silent = typeormTransactions({ dataSource: other, recordPlaces: false });
      expect(await other.transaction(async () => silent.openTransaction())).toEqual({
        dataSource: 'default',
        openedAt: null,
      });
    });
  });

  describe('with onOpenTransaction: warn', () => {
    it('is joined as it is, with one warning per place', async () => {
      const warnings: string[] = [];
      const lenient = typeormTransactions({
        dataSource,
        onOpenTransaction: 'warn',
        onWarning: (message) => warnings.push(message),
      });
      expect(lenient.onOpenTransaction({})).toBe('warn');
      expect(lenient.onOpenTransaction({ onOpenTransaction: 'reject' })).toBe('reject');
      const outer = async (owner: string) => {
        await dataSource.transaction(async (manager) => {
          await lenient.run({}, new SpecHold(), async (inner) => {
            expect(inner.queryRunner).toBe(manager.queryRunner);
            await accounts.insert({ owner }); // an injected repository joins the foreign transaction, too
          });
          expect(await database.owners()).not.toContain(owner); // not committed by the inner one
        });
      };
      await outer('ada');
      await outer('bob');
      expect(await database.owners()).toEqual(['ada', 'bob']);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(
        /^Lock "application:42" was taken inside a transaction opened at .*detection\.e2e-spec\.ts/,
      );
    });

    it('control: outside that call, the injected repository does not join a foreign transaction', async () => {
      await rejection(
        dataSource.transaction(async () => {
          await accounts.insert({ owner: 'ada' });
          throw new Error('rolled back');
        }),
      );
      expect(await database.owners()).toEqual(['ada']);
    });

    it('warns by process.emitWarning by default', async () => {
      const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
      const lenient = typeormTransactions({ dataSource, onOpenTransaction: 'warn' });
      await dataSource.transaction(() => lenient.run({}, new SpecHold(), async () => undefined));
      expect(await warned).toMatchObject({ name: 'DistributedLockWarning' });
    });
  });
});
