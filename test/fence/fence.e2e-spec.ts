import type { EntityManager } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  FenceWaitTimeoutError,
  FencingTokenRegressionError,
  StaleFencingTokenError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { TransactionOptions } from '../../src/distributed-lock/transaction/transaction-runner.js';
import { Gate, rejection, SpecHold } from '../transaction/spec-hold.js';
import { type Actor, FenceWorld, WORLDS, canHave, holdWith } from './fence-world.js';

const LEVELS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;

describe.each(WORLDS)('the fence on %s', (name) => {
  describe.skipIf(!canHave(name))('of a database that is there', () => {
    let world: FenceWorld;
    /** Two processes. */
    let older: Actor;
    let newer: Actor;

    beforeAll(async () => {
      world = await FenceWorld.open(name);
      [older, newer] = await Promise.all([world.actor(), world.actor()]);
      await older.transactions.run({}, holdWith(1, 'warm-up'), async () => undefined);
      await newer.transactions.run({}, holdWith(2, 'warm-up'), async () => undefined);
    });
    afterAll(() => world?.close());
    afterEach(() => world.reset());

    const run = (
      actor: Actor,
      hold: SpecHold,
      work: (manager: EntityManager) => Promise<unknown>,
      options: TransactionOptions = {},
    ) => actor.transactions.run(options, hold, work);

    /** An evicted holder, as the store sees it. */
    const evicted = (token: number) => Object.assign(holdWith(token), { isConfirmed: false });

    describe.each(LEVELS)('at %s', (isolation) => {
      it('refuses a stale holder that starts after a newer one has committed', async () => {
        await run(newer, holdWith(8), (manager) => world.write(manager, 150), { isolation });
        const work = vi.fn<(manager: EntityManager) => Promise<void>>();
        const error = await rejection(run(older, evicted(7), work, { isolation }));
        expect(error).toBeInstanceOf(StaleFencingTokenError);
        expect(error).toMatchObject({
          token: 7n,
          seenToken: 8n,
          methodRan: false,
          committed: false,
          retryable: true,
        });
        expect(work).not.toHaveBeenCalled();
        expect(await world.balance()).toBe(150);
      });

      it('control: without the fence, the same stale holder overwrites it', async () => {
        await run(newer, holdWith(8), (manager) => world.write(manager, 150), { isolation });
        const options = { isolation, fenced: false };
        await run(older, evicted(7), (manager) => world.write(manager, 0), options);
        expect(await world.balance()).toBe(0);
      });

      it('lets the same holder in again: a retry, a second transaction', async () => {
        const hold = holdWith(7);
        await run(older, hold, (manager) => world.add(manager, 1), { isolation });
        await run(older, hold, (manager) => world.add(manager, 1), { isolation });
        expect(await world.balance()).toBe(102);
      });

      it('makes a newer holder wait for an older one that is still inside, and read its commit', async () => {
        await run(older, holdWith(6), async () => undefined, { isolation }); // the row exists
        const { result, order } = await overlap({ isolation }, { isolation });
        await result;
        // What it reads is the commit: the two connections may tell of it in any order.
        expect(order).toEqual(['older writes', 'newer reads 110']);
        expect(await world.balance()).toBe(210);
      });

      it('does so for a key that was never locked before', async () => {
        const { result } = await overlap({ isolation }, { isolation });
        await result;
        expect(await world.balance()).toBe(210);
      });

      it('control: without the fence, the newer one reads the old value, and an update is lost', async () => {
        const options = { isolation: 'READ COMMITTED', fenced: false } as const;
        const { result } = await overlap(options, options, 'newer reads first');
        await result;
        expect(await world.balance()).not.toBe(210);
      });

      it('lets the newer one go on when the older one rolls back', async () => {
        const inside = new Gate();
        const leave = new Gate();
        const failing = rejection(
          run(
            older,
            holdWith(7),
            async (manager) => {
              await world.write(manager, 0);
              inside.open();
              await leave.passed();
              throw new Error('no');
            },
            { isolation },
          ),
        );
        await inside.passed();
        const added = run(newer, holdWith(8), (manager) => world.add(manager, 5), { isolation });
        await world.untilWaiting('the newer one');
        leave.open();
        await Promise.all([failing, added]);
        expect(await world.balance()).toBe(105);
      });

      it('refuses an older holder that arrives while the newer one is inside', async () => {
        const inside = new Gate();
        const leave = new Gate();
        const winning = run(
          newer,
          holdWith(8),
          async (manager) => {
            await world.write(manager, 150);
            inside.open();
            await leave.passed();
          },
          { isolation },
        );
        await inside.passed();
        const refused = rejection(
          run(older, evicted(7), (manager) => world.write(manager, 0), { isolation }),
        );
        await world.untilWaiting('the older one');
        leave.open();
        await winning;
        expect(await refused).toBeInstanceOf(StaleFencingTokenError);
        expect(await world.balance()).toBe(150);
      });
    });

    /** The older holder is inside when the newer one starts; both add to the balance by reading and writing it. */
    async function overlap(
      optionsOfOlder: TransactionOptions,
      optionsOfNewer: TransactionOptions,
      first: 'older commits first' | 'newer reads first' = 'older commits first',
    ): Promise<{ result: Promise<unknown>; order: string[] }> {
      const order: string[] = [];
      const inside = new Gate();
      const leave = new Gate();
      const adding = run(
        older,
        holdWith(7),
        async (manager) => {
          const balance = await world.read(manager);
          inside.open();
          await leave.passed();
          order.push('older writes');
          await world.write(manager, balance + 10);
        },
        optionsOfOlder,
      );
      await inside.passed();
      const following = run(
        newer,
        holdWith(8),
        async (manager) => {
          const balance = await world.read(manager);
          order.push(`newer reads ${balance}`);
          leave.open();
          await world.write(manager, balance + 100);
        },
        optionsOfNewer,
      );
      if (first === 'older commits first') {
        await world.untilWaiting('the newer one');
        leave.open();
      }
      return { result: Promise.all([adding, following]), order };
    }

    it('says that the tokens have gone back if the store still honours the hold', async () => {
      await run(newer, holdWith(8), (manager) => world.write(manager, 150));
      const error = await rejection(run(older, holdWith(7), (manager) => world.write(manager, 0)));
      expect(error).toBeInstanceOf(FencingTokenRegressionError);
      expect(error).toMatchObject({ token: 7n, seenToken: 8n, methodRan: false, retryable: false });
      expect(await world.balance()).toBe(150);
      // A store that cannot answer does not make it a regression.
      const silent = Object.assign(holdWith(7), { isConfirmed: null });
      const stale = await rejection(run(older, silent, async () => undefined));
      expect(stale).toBeInstanceOf(StaleFencingTokenError);
    });

    it('gives up a wait that lasts longer than the lease', async () => {
      const inside = new Gate();
      const leave = new Gate();
      const holding = run(older, holdWith(7), async () => {
        inside.open();
        await leave.passed();
      });
      await inside.passed();
      const short = Object.assign(holdWith(8), { renews: false, leftMs: 300 });
      const error = await rejection(run(newer, short, async () => undefined));
      expect(error).toBeInstanceOf(FenceWaitTimeoutError);
      expect(error).toMatchObject({ methodRan: false, committed: false, retryable: true });
      leave.open();
      await holding;
    });

    it('does not run the method if the lock was lost while waiting at the fence', async () => {
      const inside = new Gate();
      const leave = new Gate();
      const holding = run(older, holdWith(7), async () => {
        inside.open();
        await leave.passed();
      });
      await inside.passed();
      const lost = holdWith(8);
      const work = vi.fn<() => Promise<void>>();
      const refused = rejection(run(newer, lost, work));
      await world.untilWaiting('the newer one');
      lost.lose();
      leave.open();
      expect(await refused).toMatchObject({
        code: 'LOCK_LOST',
        methodRan: false,
        committed: false,
      });
      expect(work).not.toHaveBeenCalled();
      await holding;
    });

    describe('several keys', () => {
      const holdOf = (tokens: Record<string, number>) =>
        new SpecHold(
          Object.keys(tokens).join(', '),
          null,
          new Map(Object.entries(tokens).map(([key, token]) => [key, BigInt(token)])),
        );

      it('are one statement (two where the database has no RETURNING)', async () => {
        older.log.statements.length = 0;
        await run(older, holdOf({ b: 7, a: 8 }), async () => undefined);
        expect(older.log.statements).toHaveLength(name === 'mysql' ? 4 : 3);
      });

      it('are refused if one of them is stale, and none is written', async () => {
        await run(newer, holdOf({ a: 9 }), async () => undefined);
        const hold = Object.assign(holdOf({ b: 9, a: 8 }), { isConfirmed: false });
        expect(await rejection(run(older, hold, async () => undefined))).toMatchObject({
          code: 'STALE_FENCING_TOKEN',
          token: 8n,
          seenToken: 9n,
        });
        await run(newer, holdOf({ b: 1 }), async () => undefined); // `b` was not touched
      });

      it('do not deadlock, whatever order they are given in', async () => {
        const inside = new Gate();
        const leave = new Gate();
        const blocker = await world.actor();
        const blocking = run(blocker, holdOf({ a: 1 }), async () => {
          inside.open();
          await leave.passed();
        });
        await inside.passed();
        for (const { log } of [older, newer]) log.statements.length = 0;
        // In their given orders, the first would wait for `a`, the second have `b` and wait for `a` behind it: then each for the other.
        const first = run(older, holdOf({ a: 2, b: 2 }), async () => undefined);
        await world.untilWaiting('the first');
        const second = run(newer, holdOf({ b: 2, a: 2 }), async () => undefined);
        await world.untilWaiting('the second', 2);
        leave.open();
        await Promise.all([blocking, first, second]);
        // One that was given up would have been started again.
        for (const { log } of [older, newer]) {
          const started = log.statements.filter((statement) => statement === 'START TRANSACTION');
          expect(started).toHaveLength(1);
        }
      });
    });

    it('tells keys apart by every byte', async () => {
      const long = '가'.repeat(170);
      const keys = [
        'Order:1',
        'order:1',
        'order:1 ',
        'ordér:1',
        '😀',
        `${long}a`,
        `${long}b`,
        'x\\0',
        'x\0',
      ];
      for (const [index, key] of keys.entries())
        await run(older, holdWith(100 - index, key), async () => undefined);
      const [row] = await world.query<{ n: string }>(`SELECT count(*) AS n FROM ${world.fences}`);
      expect(Number(row!.n)).toBe(keys.length);
    });

    it.skipIf(name === 'postgres')(
      'control: in a column with the collation of the server, keys that differ in case are one',
      async () => {
        const table = `collated_${world.fences}`;
        await world.query(`CREATE TABLE ${table} (lock_key VARCHAR(255) PRIMARY KEY)`);
        try {
          await world.query(`INSERT INTO ${table} VALUES ('Order:1')`);
          const error = await rejection(world.query(`INSERT INTO ${table} VALUES ('order:1')`));
          expect(error).toMatchObject({ driverError: { code: 'ER_DUP_ENTRY' } });
        } finally {
          await world.query(`DROP TABLE ${table}`);
        }
      },
    );

    it('keeps the rows of different stores apart', async () => {
      const other = await world.actor({}, {}, 'redis');
      await run(newer, holdWith(8), async () => undefined);
      await run(other, holdWith(7), (manager) => world.write(manager, 1));
      expect(await world.balance()).toBe(1);
    });

    it.skipIf(name !== 'postgres')('may be prepared by name, and refuses the same', async () => {
      const prepared = await world.actor(
        { fence: { table: world.fences, prepared: true } },
        { poolSize: 1 },
      );
      await run(prepared, holdWith(7), (manager) => world.add(manager, 1));
      await run(prepared, holdWith(8), (manager) => world.add(manager, 1));
      const names = await prepared.dataSource.query<{ name: string }[]>(
        `SELECT name FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO %'`,
      );
      expect(names).toHaveLength(1);
      expect(await rejection(run(prepared, evicted(7), async () => undefined))).toMatchObject({
        code: 'STALE_FENCING_TOKEN',
        seenToken: 8n,
      });
      expect(await world.balance()).toBe(102);
    });

    it(`costs exactly ${name === 'mysql' ? 'two statements' : 'one statement'} more`, async () => {
      const statements = async (options: TransactionOptions) => {
        older.log.statements.length = 0;
        await run(older, holdWith(7), (manager) => world.add(manager, 1), options);
        return [...older.log.statements];
      };
      const unfenced = await statements({ fenced: false });
      const fenced = await statements({});
      expect(unfenced).toHaveLength(4);
      expect(fenced).toHaveLength(name === 'mysql' ? 6 : 5);
      expect(fenced[0]).toBe('START TRANSACTION');
      expect(fenced[1]).toContain(world.fences);
    });
  });
});
