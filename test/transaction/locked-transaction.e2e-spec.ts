import { AsyncResource } from 'node:async_hooks';
import type { DataSource, EntityManager, EntitySubscriberInterface } from 'typeorm';
import { QueryFailedError } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  LockLostError,
  LockNotHeldError,
  PostCommitHookError,
  TransactionContextEndedError,
  TransactionMisuseError,
  TransactionRolledBackError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { describeWith } from '../support/with-services.js';
import { Account, SpecDatabase, StatementLog } from './database.js';
import { rejection, SpecHold } from './spec-hold.js';

describeWith('postgres')('a locked transaction', () => {
  let database: SpecDatabase;
  let dataSource: DataSource;
  const log = new StatementLog();
  const warnings: string[] = [];
  let transactions: ReturnType<typeof typeormTransactions>;

  beforeAll(async () => {
    database = await SpecDatabase.create('locked_transaction');
    dataSource = await database.open({ logger: log });
    transactions = typeormTransactions({
      dataSource,
      onWarning: (message) => warnings.push(message),
    });
  });
  afterAll(() => database.close());
  afterEach(async () => {
    warnings.length = 0;
    await database.expectNothingLeft();
    await database.empty();
  });

  const save = (manager: EntityManager, owner: string) => manager.insert(Account, { owner });
  const run = <T>(work: (manager: EntityManager) => Promise<T>, hold = new SpecHold()) =>
    transactions.run({}, hold, work);

  /** Adds a subscriber for one test. */
  async function withSubscriber<T>(
    subscriber: EntitySubscriberInterface,
    work: () => Promise<T>,
  ): Promise<T> {
    dataSource.subscribers.push(subscriber);
    try {
      return await work();
    } finally {
      dataSource.subscribers.splice(dataSource.subscribers.indexOf(subscriber), 1);
    }
  }

  it('resolves with the value of the work, after the commit', async () => {
    const result = await run(async (manager) => {
      await save(manager, 'ada');
      expect(await database.owners()).toEqual([]); // nobody else sees it yet
      return 'done';
    });
    expect(result).toBe('done');
    expect(await database.owners()).toEqual(['ada']);
  });

  it('sends START, the body and COMMIT: not one statement more', async () => {
    log.statements.length = 0;
    await run(async (manager) => {
      await manager.query('SELECT 1');
      await manager.query('SELECT 2');
    });
    expect(log.statements).toEqual(['START TRANSACTION', 'SELECT 1', 'SELECT 2', 'COMMIT']);
  });

  it.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
    'runs at %s as asked',
    async (isolation) => {
      const level = await transactions.run({ isolation }, new SpecHold(), (manager) =>
        manager.query<unknown>('SHOW transaction_isolation'),
      );
      expect(level).toEqual([{ transaction_isolation: isolation.toLowerCase() }]);
    },
  );

  it('leaves the isolation level behind: the next transaction has the default again', async () => {
    await transactions.run({ isolation: 'SERIALIZABLE' }, new SpecHold(), async () => undefined);
    const level = await run((manager) => manager.query<unknown>('SHOW transaction_isolation'));
    expect(level).toEqual([{ transaction_isolation: 'read committed' }]);
  });

  it('rolls back and rejects with the very error that the work threw', async () => {
    const error = { not: 'even an Error' };
    const thrown = await rejection(
      run(async (manager) => {
        await save(manager, 'ada');
        throw error;
      }),
    );
    expect(thrown).toBe(error);
    expect(await database.owners()).toEqual([]);
  });

  it('rolls back when the work throws before it is a promise', async () => {
    const error = new Error('at once');
    const thrown = await rejection(
      run(() => {
        throw error;
      }),
    );
    expect(thrown).toBe(error);
  });

  it('passes the error of a statement through', async () => {
    expect(await rejection(run((manager) => manager.query('SELECT nothing')))).toBeInstanceOf(
      QueryFailedError,
    );
  });

  describe('when the work swallows the error of a statement', () => {
    const work = async (manager: EntityManager) => {
      await save(manager, 'ada');
      await manager.query('SELECT nothing').catch(() => undefined);
    };

    it('rejects: nothing was written', async () => {
      const error = await rejection(run(work));
      expect(error).toBeInstanceOf(TransactionRolledBackError);
      expect(error).toMatchObject({
        reason: 'answered-rollback',
        methodRan: true,
        committed: false,
        retryable: false,
        cause: { message: expect.stringContaining('nothing') },
      });
      expect(await database.owners()).toEqual([]);
    });

    it('control: TypeORM alone reports success', async () => {
      await database.observer.transaction(work);
      expect(await database.owners()).toEqual([]);
    });
  });

  it('goes on after an error inside a savepoint', async () => {
    await run(async (manager) => {
      await save(manager, 'ada');
      await manager.transaction((nested) => nested.query('SELECT nothing')).catch(() => undefined);
      await save(manager, 'bob');
    });
    expect(await database.owners()).toEqual(['ada', 'bob']);
  });

  describe('when a SAVEPOINT fails because the transaction is aborted', () => {
    const work = async (manager: EntityManager) => {
      await save(manager, 'ada');
      await manager.query('SELECT nothing').catch(() => undefined);
      await manager.transaction(async () => undefined).catch(() => undefined);
      await save(manager, 'bob');
    };

    it('writes nothing', async () => {
      await rejection(run(work));
      expect(await database.owners()).toEqual([]);
    });

    it('control: TypeORM alone rolls back one level too deep, and what follows commits by itself', async () => {
      await rejection(database.observer.transaction(work));
      expect(await database.owners()).toEqual(['bob']);
    });
  });

  describe('when the COMMIT itself is refused', () => {
    beforeAll(() =>
      database.observer.query(
        'ALTER TABLE account ADD CONSTRAINT one UNIQUE (owner) DEFERRABLE INITIALLY DEFERRED',
      ),
    );
    afterAll(() => database.observer.query('ALTER TABLE account DROP CONSTRAINT one'));

    it('rejects with the error of the database, rolled back', async () => {
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          await save(manager, 'ada');
        }),
      );
      expect(error).toBeInstanceOf(QueryFailedError);
      expect(error).toMatchObject({ query: 'COMMIT', driverError: { code: '23505' } });
      expect(await database.owners()).toEqual([]);
    });
  });

  describe('when a subscriber throws', () => {
    it('after the commit: committed, and said so', async () => {
      const cause = new Error('the mail server is down');
      const afterTransactionCommit = () => Promise.reject(cause);
      const error = await withSubscriber({ afterTransactionCommit }, () =>
        rejection(run((manager) => save(manager, 'ada'))),
      );
      expect(error).toBeInstanceOf(PostCommitHookError);
      expect(error).toMatchObject({ committed: true, retryable: false, cause });
      expect(await database.owners()).toEqual(['ada']);
    });

    it('in afterQuery of the COMMIT: committed, and said so', async () => {
      const cause = new Error('the metrics are down');
      const afterQuery = ({ query }: { query: string }) => {
        if (query === 'COMMIT') throw cause;
      };
      const error = await withSubscriber({ afterQuery }, () =>
        rejection(run((manager) => save(manager, 'ada'))),
      );
      expect(error).toMatchObject({ code: 'POST_COMMIT_HOOK', committed: true, cause });
      expect(await database.owners()).toEqual(['ada']);
    });

    it('before the commit: rolled back, with the same error', async () => {
      const cause = new Error('the outbox is full');
      const beforeTransactionCommit = () => Promise.reject(cause);
      const error = await withSubscriber({ beforeTransactionCommit }, () =>
        rejection(run((manager) => save(manager, 'ada'))),
      );
      expect(error).toBe(cause);
      expect(await database.owners()).toEqual([]);
    });

    it('before the rollback: the connection is closed, the error of the work stays the answer', async () => {
      const error = new Error('no');
      const beforeTransactionRollback = () => Promise.reject(new Error('hook'));
      const thrown = await withSubscriber({ beforeTransactionRollback }, () =>
        rejection(
          run(async (manager) => {
            await save(manager, 'ada');
            throw error;
          }),
        ),
      );
      expect(thrown).toBe(error);
      expect(await database.owners()).toEqual([]);
      expect(warnings).toEqual([expect.stringContaining('the connection is closed instead')]);
    });
  });

  it('lets subscribers write before the commit', async () => {
    const beforeTransactionCommit = async ({ manager }: { manager: EntityManager }) => {
      await save(manager, 'from the hook');
    };
    await withSubscriber({ beforeTransactionCommit }, () => run((manager) => save(manager, 'ada')));
    expect(await database.owners()).toEqual(['ada', 'from the hook']);
  });

  describe('when the hold is lost', () => {
    const answers = { methodRan: true, committed: false, retryable: true, reason: 'expired' };

    it('before the commit: rolled back', async () => {
      const hold = new SpecHold();
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          hold.lose();
        }, hold),
      );
      expect(error).toBeInstanceOf(LockLostError);
      expect(error).toMatchObject(answers);
      expect(await database.owners()).toEqual([]);
    });

    it('by a hook before the commit: rolled back', async () => {
      const hold = new SpecHold();
      const beforeTransactionCommit = () => hold.lose();
      const error = await withSubscriber({ beforeTransactionCommit }, () =>
        rejection(run((manager) => save(manager, 'ada'), hold)),
      );
      expect(error).toMatchObject({ code: 'LOCK_LOST', ...answers });
      expect(await database.owners()).toEqual([]);
    });

    it('while the work runs: its next statement is not sent', async () => {
      const hold = new SpecHold();
      log.statements.length = 0;
      let refused: unknown;
      await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          hold.lose();
          refused = await rejection(manager.query('SELECT 1'));
        }, hold),
      );
      expect(refused).toMatchObject({ code: 'LOCK_LOST', ...answers });
      expect(log.statements).toContain('ROLLBACK');
      expect(log.statements).not.toContain('COMMIT');
    });

    it('control: while it is held, the same statement is sent', async () => {
      await run(async (manager) => {
        expect(await manager.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
      });
    });

    it('and noticed by the work itself: the caller is told that nothing was committed', async () => {
      const hold = new SpecHold();
      const error = await rejection(
        run(async () => {
          hold.lose();
          hold.assertHeld();
        }, hold),
      );
      expect(error).toMatchObject({ code: 'LOCK_LOST', ...answers });
    });

    it('and the work throws its own error: that one is passed through', async () => {
      const hold = new SpecHold();
      const own = new Error('own');
      const error = await rejection(
        run(async () => {
          hold.lose();
          throw own;
        }, hold),
      );
      expect(error).toBe(own);
    });

    it('while waiting for a connection: the work does not run', async () => {
      const hold = new SpecHold();
      hold.lose();
      const work = vi.fn<() => Promise<void>>();
      const error = await rejection(run(work, hold));
      expect(error).toMatchObject({
        code: 'LOCK_LOST',
        methodRan: false,
        committed: false,
        retryable: true,
      });
      expect(work).not.toHaveBeenCalled();
    });

    it('by releasing it inside the work: rolled back', async () => {
      const hold = new SpecHold();
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          hold.release();
        }, hold),
      );
      expect(error).toBeInstanceOf(LockNotHeldError);
      expect(error).toMatchObject({ methodRan: true, committed: false });
      expect(await database.owners()).toEqual([]);
    });
  });

  describe('work that is not awaited', () => {
    it('is refused after the end, and its statement never sent', async () => {
      const accounts = dataSource.getRepository(Account);
      let late!: Promise<unknown>[];
      let startLate!: () => void;
      const started = new Promise<void>((resolve) => (startLate = resolve));
      await run(async (manager) => {
        late = [
          started.then(() => accounts.insert({ owner: 'repository' })),
          started.then(() => accounts.save({ owner: 'save' })),
          started.then(() => dataSource.query(`INSERT INTO account (owner) VALUES ('query')`)),
          started.then(() =>
            dataSource.transaction((m) => m.insert(Account, { owner: 'transaction' })),
          ),
          started.then(() => dataSource.createQueryBuilder(Account, 'a').getMany()),
          started.then(() => manager.insert(Account, { owner: 'manager' })),
          started.then(() => manager.transaction((m) => m.insert(Account, { owner: 'nested' }))),
        ];
      });
      log.statements.length = 0;
      startLate();
      for (const each of await Promise.allSettled(late)) {
        expect(each).toMatchObject({
          status: 'rejected',
          reason: { code: 'TRANSACTION_CONTEXT_ENDED' },
        });
      }
      expect(log.statements).toEqual([]);
      expect(await database.owners()).toEqual([]);
    });

    it('gets a rejection, not a throw: `void save().catch(log)` in a timer must not end the process', async () => {
      let chain!: AsyncResource;
      await run(async () => {
        chain = new AsyncResource('timer');
      });
      const saved = chain.runInAsyncScope(() =>
        dataSource.getRepository(Account).save({ owner: 'ada' }),
      );
      await expect(saved).rejects.toBeInstanceOf(TransactionContextEndedError);
    });

    it('may still use the database outside: outside()', async () => {
      let late!: Promise<unknown>;
      let startLate!: () => void;
      const started = new Promise<void>((resolve) => (startLate = resolve));
      await run(async () => {
        late = started.then(() =>
          transactions.outside(() => dataSource.getRepository(Account).save({ owner: 'ada' })),
        );
      });
      startLate();
      await late;
      expect(await database.owners()).toEqual(['ada']);
    });

    it('cannot slip a statement between COMMIT and its answer', async () => {
      let late: Promise<unknown> | undefined;
      let manager!: EntityManager;
      const beforeQuery = ({ query }: { query: string }) => {
        if (query === 'COMMIT') late = rejection(manager.insert(Account, { owner: 'late' }));
      };
      await withSubscriber({ beforeQuery }, () =>
        run(async (own) => {
          manager = own;
          await save(own, 'ada');
        }),
      );
      expect(await late).toBeInstanceOf(TransactionContextEndedError);
      expect(await database.owners()).toEqual(['ada']);
    });
  });

  describe('work that handles the transaction itself', () => {
    it.each([
      ['commitTransaction()', (manager: EntityManager) => manager.queryRunner!.commitTransaction()],
      [
        'rollbackTransaction()',
        (manager: EntityManager) => manager.queryRunner!.rollbackTransaction(),
      ],
      ['COMMIT', (manager: EntityManager) => manager.query('COMMIT')],
      ['rollback work', (manager: EntityManager) => manager.query(' rollback work')],
    ])('cannot end it with %s', async (_what, end) => {
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          await end(manager);
        }),
      );
      expect(error).toBeInstanceOf(TransactionMisuseError);
      expect(error).toMatchObject({ committed: false, retryable: false });
      expect(await database.owners()).toEqual([]);
    });

    it('can go back to a savepoint of its own', async () => {
      await run(async (manager) => {
        await save(manager, 'ada');
        await manager.query('SAVEPOINT mine');
        await save(manager, 'bob');
        await manager.query('ROLLBACK TO SAVEPOINT mine');
      });
      expect(await database.owners()).toEqual(['ada']);
    });

    it('cannot give its connection back with the transaction open', async () => {
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          await manager.queryRunner!.release();
        }),
      );
      expect(error).toMatchObject({
        code: 'TRANSACTION_ROLLED_BACK',
        reason: 'connection-lost',
        retryable: true,
      });
      expect(await database.owners()).toEqual([]);
    });

    it('is rolled back when it returns while a nested transaction is open', async () => {
      log.statements.length = 0;
      let close!: () => void;
      let nested!: Promise<unknown>;
      const error = await rejection(
        run(async (manager) => {
          await save(manager, 'ada');
          await new Promise<void>((opened) => {
            nested = manager
              .transaction(async (inner) => {
                await save(inner, 'bob');
                await new Promise<void>((resolve) => {
                  close = resolve;
                  opened();
                });
              })
              .catch(() => undefined);
          });
        }),
      );
      expect(error).toMatchObject({ code: 'TRANSACTION_MISUSE', committed: false });
      expect(log.statements).not.toContain('RELEASE SAVEPOINT typeorm_1'); // its end was not taken for ours
      close();
      await nested;
      expect(await database.owners()).toEqual([]);
    });

    it('is rolled back when a nested transaction starts while it is being committed', async () => {
      let nested: Promise<unknown> | undefined;
      const beforeTransactionCommit = async ({ manager }: { manager: EntityManager }) => {
        if (nested !== undefined) return;
        // As far as SAVEPOINT: TypeORM would then release it in place of COMMIT.
        nested = manager.queryRunner!.startTransaction();
        await nested;
      };
      const error = await withSubscriber({ beforeTransactionCommit }, () =>
        rejection(run((manager) => save(manager, 'ada'))),
      );
      expect(error).toMatchObject({ code: 'TRANSACTION_MISUSE', committed: false });
      expect(await database.owners()).toEqual([]);
    });
  });

  describe('inside another one', () => {
    it('joins it: one transaction, one connection', async () => {
      log.statements.length = 0;
      await run(async (outer) => {
        await run(async (inner) => {
          expect(inner).toBe(outer);
          await inner.query('SELECT 1');
        });
      });
      expect(log.statements).toEqual(['START TRANSACTION', 'SELECT 1', 'COMMIT']);
      expect(warnings).toEqual([]);
    });

    it('commits nothing of the inner one when the outer one fails', async () => {
      await rejection(
        run(async () => {
          await run((manager) => save(manager, 'ada'));
          throw new Error('outer');
        }),
      );
      expect(await database.owners()).toEqual([]);
    });

    it('is its own transaction where it was told to be outside', async () => {
      await rejection(
        run(async () => {
          await transactions.outside(() => run((manager) => save(manager, 'ada')));
          throw new Error('outer');
        }),
      );
      expect(await database.owners()).toEqual(['ada']);
    });
  });

  it('tells a caller that got no connection that the method did not run', async () => {
    const small = await database.open({ poolSize: 1, extra: { connectionTimeoutMillis: 50 } });
    const narrow = typeormTransactions({ dataSource: small });
    const work = vi.fn<() => Promise<void>>();
    const busy = small.createQueryRunner();
    await busy.connect();
    try {
      const error = await rejection(narrow.run({}, new SpecHold(), work));
      expect(error).toMatchObject({
        code: 'TRANSACTION_START',
        methodRan: false,
        committed: false,
        retryable: true,
        cause: expect.any(Error),
      });
      expect(work).not.toHaveBeenCalled();
    } finally {
      await busy.release();
    }
    await narrow.run({}, new SpecHold(), work); // control: with a connection it runs
    expect(work).toHaveBeenCalledOnce();
  });
});
