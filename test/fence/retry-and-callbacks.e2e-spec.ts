import type { EntityManager, EntitySubscriberInterface } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  LockConfigurationError,
  MaxHoldExceededError,
  PostCommitHookError,
  SerializationRetriesExhaustedError,
  TransactionContextEndedError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { TransactionOptions } from '../../src/distributed-lock/transaction/transaction-runner.js';
import {
  afterCommit,
  afterRollback,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { Gate, rejection, type SpecHold } from '../transaction/spec-hold.js';
import { type Actor, canHave, FenceWorld, holdWith } from './fence-world.js';

describe.each(['postgres', 'mariadb'] as const)(
  'a transaction that the database gives up, on %s',
  (name) => {
    describe.skipIf(!canHave(name))('of a database that is there', () => {
      let world: FenceWorld;
      let actor: Actor;

      beforeAll(async () => {
        world = await FenceWorld.open(name);
        actor = await world.actor();
      });
      afterAll(() => world?.close());
      afterEach(() => world.reset());

      /**
       * Two transactions take two rows in opposite orders, in their first run: the database gives one of them up.
       * Both are fenced, each under a lock of its own.
       */
      async function deadlock(options: TransactionOptions) {
        const runs = { a: 0, b: 0 };
        const gates = { a: new Gate(), b: new Gate() };
        const tokensSeen = new Set<string>();
        const one = (me: 'a' | 'b', other: 'a' | 'b', rows: readonly [number, number]) =>
          actor.transactions.run(options, holdWith(7, `account:${me}`), async (manager) => {
            runs[me] += 1;
            const [row] = await manager.query<{ token: string }[]>(
              `SELECT token FROM ${world.fences} WHERE lock_key = 'memory/spec:account:${me}'`,
            );
            tokensSeen.add(row!.token);
            await manager.query(
              `UPDATE ${world.account} SET balance = balance + 1 WHERE id = ${rows[0]}`,
            );
            gates[me].open();
            await gates[other].passed();
            await manager.query(
              `UPDATE ${world.account} SET balance = balance + 1 WHERE id = ${rows[1]}`,
            );
          });
        const settled = await Promise.allSettled([one('a', 'b', [1, 2]), one('b', 'a', [2, 1])]);
        return { settled, runs: runs.a + runs.b, tokensSeen };
      }

      it('is run again when asked for, under the same lock and token', async () => {
        const { settled, runs, tokensSeen } = await deadlock({ retry: { attempts: 3 } });
        expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
        expect(runs).toBe(3);
        expect([...tokensSeen].map(String)).toEqual(['7']);
        expect([await world.balance(1), await world.balance(2)]).toEqual([102, 102]);
      });

      it('control: by default the method runs once, and the caller gets the error of the database', async () => {
        const { settled, runs } = await deadlock({});
        const failed = settled.filter((each) => each.status === 'rejected');
        expect(runs).toBe(2);
        expect(failed).toHaveLength(1);
        expect(failed[0]!.reason).toMatchObject({
          driverError: world.isPostgres ? { code: '40P01' } : { errno: 1213 },
        });
        expect([await world.balance(1), await world.balance(2)]).toEqual([101, 101]);
      });

      it('ends after the last attempt, and says that nothing was written', async () => {
        let runs = 0;
        const cause = Object.assign(new Error('gave up'), { code: '40001' });
        const error = await rejection(
          actor.transactions.run({ retry: { attempts: 3 } }, holdWith(7), async (manager) => {
            runs += 1;
            await world.add(manager, 1);
            throw new Error('wrapped by the method', { cause });
          }),
        );
        expect(error).toBeInstanceOf(SerializationRetriesExhaustedError);
        expect(error).toMatchObject({
          attempts: 3,
          methodRan: true,
          committed: false,
          retryable: true,
        });
        expect(runs).toBe(3);
        expect(await world.balance()).toBe(100);
      });

      it('is not run again when the lock is lost meanwhile', async () => {
        const hold = holdWith(7);
        let runs = 0;
        const error = await rejection(
          actor.transactions.run({ retry: { attempts: 3 } }, hold, async () => {
            runs += 1;
            hold.lose();
            throw Object.assign(new Error('gave up'), { code: '40001' });
          }),
        );
        expect(error).toMatchObject({ code: 'LOCK_LOST', methodRan: true, committed: false });
        expect(runs).toBe(1);
      });

      it('is not run again for any other error', async () => {
        const own = new Error('own');
        let runs = 0;
        const error = await rejection(
          actor.transactions.run({ retry: { attempts: 3 } }, holdWith(7), async () => {
            runs += 1;
            throw own;
          }),
        );
        expect(error).toBe(own);
        expect(runs).toBe(1);
      });

      it.skipIf(name === 'postgres')(
        'and whose error the method swallows, does not go on statement by statement',
        async () => {
          const work = async (
            manager: EntityManager,
            mine: number,
            other: number,
            met: Gate,
            meet: Gate,
          ) => {
            await world.write(manager, 500 + mine, mine);
            met.open();
            await meet.passed();
            await world.write(manager, 500 + mine, other).catch(() => undefined);
            await world.write(manager, 555, mine);
          };
          const meeting = async (
            run: (work: (manager: EntityManager) => Promise<void>, key: string) => Promise<unknown>,
          ) => {
            const [a, b] = [new Gate(), new Gate()];
            return Promise.allSettled([
              run((manager) => work(manager, 1, 2, a, b), 'account:a'),
              run((manager) => work(manager, 2, 1, b, a), 'account:b').catch((error: unknown) => {
                throw error;
              }),
            ]);
          };
          const settled = await meeting((each, key) =>
            actor.transactions.run({}, holdWith(7, key), each),
          );
          const failed = settled.filter((each) => each.status === 'rejected');
          expect(failed).toHaveLength(1);
          expect(failed[0]!.reason).toMatchObject({
            code: 'TRANSACTION_ROLLED_BACK',
            reason: 'deadlock',
            committed: false,
            retryable: true,
          });
          const loser = settled[0].status === 'rejected' ? 1 : 2;
          expect(await world.balance(loser)).not.toBe(555);

          // Control: TypeORM alone. The transaction that was given up fails in the end, and its last statement stands.
          await world.reset();
          const plain = world.dataSource();
          await plain.initialize();
          const alone = await meeting((each) =>
            plain.transaction(async (manager) => {
              await each(manager);
              throw new Error('undo everything');
            }),
          );
          expect(alone.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
          expect([await world.balance(1), await world.balance(2)]).toContain(555);
        },
      );
    });
  },
);

describe.skipIf(!canHave('postgres'))('callbacks of a locked transaction', () => {
  let world: FenceWorld;
  let actor: Actor;

  beforeAll(async () => {
    world = await FenceWorld.open('postgres');
    actor = await world.actor();
  });
  afterAll(() => world?.close());
  afterEach(async () => {
    actor.warnings.length = 0;
    await world.reset();
  });
  const run = <T>(
    work: (manager: EntityManager) => Promise<T>,
    options: TransactionOptions = {},
    hold: SpecHold = holdWith(7),
  ) => actor.transactions.run(options, hold, work);

  it('run after the commit, one after the other, before the caller goes on', async () => {
    const order: string[] = [];
    await run(async (manager) => {
      afterRollback(() => order.push('rollback'));
      afterCommit(async () => {
        order.push(`first sees ${await world.balance()}`);
        await Promise.resolve();
        order.push('first done');
      });
      afterCommit(() => order.push('second'));
      await world.write(manager, 7);
      order.push('method done');
    });
    order.push('caller');
    expect(order).toEqual(['method done', 'first sees 7', 'first done', 'second', 'caller']);
  });

  it('are outside of the transaction: they may use repositories and open transactions', async () => {
    let inside: unknown = 'not run';
    await run(async () => {
      afterCommit(async () => {
        inside = actor.transactions.openTransaction();
        await actor.dataSource.query('SELECT 1');
        await actor.dataSource.transaction((manager) => world.write(manager, 9));
      });
    });
    expect(inside).toBeUndefined();
    expect(await world.balance()).toBe(9);
  });

  it('of a rollback run once for each attempt, and only the error of the method is told', async () => {
    const order: string[] = [];
    const own = new Error('own');
    let runs = 0;
    const error = await rejection(
      run(
        async () => {
          runs += 1;
          const attempt = runs;
          afterCommit(() => order.push('commit'));
          afterRollback(() => {
            order.push(`rollback ${attempt}`);
            throw new Error('the mail server is down');
          });
          throw attempt === 1 ? Object.assign(new Error('gave up'), { code: '40001' }) : own;
        },
        { retry: { attempts: 2 } },
      ),
    );
    expect(error).toBe(own);
    expect(order).toEqual(['rollback 1', 'rollback 2']);
    expect(actor.warnings).toHaveLength(2);
  });

  it('that fail after the commit are told as such, and the others run', async () => {
    const order: string[] = [];
    const cause = new Error('the mail server is down');
    const error = await rejection(
      run(async (manager) => {
        afterCommit(() => Promise.reject(cause));
        afterCommit(() => order.push('second'));
        await world.write(manager, 7);
      }),
    );
    expect(error).toBeInstanceOf(PostCommitHookError);
    expect(error).toMatchObject({ committed: true, retryable: false, cause });
    expect(order).toEqual(['second']);
    expect(await world.balance()).toBe(7);
  });

  it('run after a commit whose subscriber failed', async () => {
    const order: string[] = [];
    const subscriber: EntitySubscriberInterface = {
      afterTransactionCommit: () => Promise.reject(new Error('hook')),
    };
    actor.dataSource.subscribers.push(subscriber);
    const error = await rejection(
      run(async () => {
        afterCommit(() => order.push('committed'));
        afterRollback(() => order.push('rolled back'));
      }),
    );
    actor.dataSource.subscribers.pop();
    expect(error).toMatchObject({ committed: true });
    expect(order).toEqual(['committed']);
  });

  it('control: with TypeORM alone, the error of such a subscriber does not tell that it is committed', async () => {
    const hook = new Error('hook');
    const plain = world.dataSource();
    await plain.initialize();
    plain.subscribers.push({ afterTransactionCommit: () => Promise.reject(hook) });
    const error = await rejection(plain.transaction((manager) => world.write(manager, 7)));
    expect(error).toBe(hook);
    expect(await world.balance()).toBe(7);
  });

  it('are refused outside of a locked transaction, and after its end', async () => {
    expect(() => afterCommit(() => undefined)).toThrow(LockConfigurationError);
    await actor.dataSource.transaction(async () => {
      expect(() => afterRollback(() => undefined)).toThrow(LockConfigurationError);
    });
    const over = new Gate();
    let late!: Promise<unknown>;
    await run(async () => {
      late = over.passed().then(() => afterCommit(() => undefined));
    });
    over.open();
    expect(await rejection(late)).toBeInstanceOf(TransactionContextEndedError);
  });

  describe('maxHold', () => {
    it('ends a transaction under a lock that is renewed: rolled back', async () => {
      const error = await rejection(
        run(
          async (manager) => {
            await world.write(manager, 0);
            for (let i = 0; i < 50; i += 1) await manager.query('SELECT pg_sleep(0.02)');
          },
          { maxHold: 200 },
        ),
      );
      expect(error).toBeInstanceOf(MaxHoldExceededError);
      expect(error).toMatchObject({ methodRan: true, committed: false });
      expect(await world.balance()).toBe(100);
    });

    it('makes the database end a statement that takes longer', async () => {
      const error = await rejection(
        run((manager) => manager.query('SELECT pg_sleep(30)'), { maxHold: 200 }),
      );
      expect(error).toMatchObject({ driverError: { code: '57014' } });
    });

    it('control: a transaction that is longer than its lease goes on while it is renewed', async () => {
      const hold = Object.assign(holdWith(7), { leftMs: 50 });
      await run((manager) => manager.query('SELECT pg_sleep(0.2)'), { maxHold: '10s' }, hold);
    });
  });
});
