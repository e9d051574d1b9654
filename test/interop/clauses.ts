import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { currentHold, DistributedLock } from 'nestjs-distributed-lock';
import { afterCommit, afterRollback } from 'nestjs-distributed-lock/typeorm';
import { Client } from 'pg';
import type { EntityManager } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { databaseUrl, describeWith } from '../support/with-services.js';
import { Gate, rejection } from '../transaction/spec-hold.js';
import { InteropApp } from './interop-app.js';
import { type DataSourceName, type Library, Wallet } from './library.js';

const CALLS = 60;
const LEVELS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;
const LOCKED = ['attempted', 'acquired', 'START TRANSACTION', 'fence'];
const ADDED = ['SELECT "Wallet"."id"', 'UPDATE "wallet"'];

/** What holds with every library that may open the transactions of locked methods. */
export interface World {
  readonly app: InteropApp;
  /** What everybody else sees. */
  balance(id?: string, dataSource?: DataSourceName): Promise<number>;
  readonly urls: Readonly<Record<DataSourceName, string>>;
  /** @returns whether the work was part of a locked transaction: it is gone when that is rolled back. */
  joins(work: () => Promise<unknown>): Promise<boolean>;
}

/** Adds one to wallet `a`. */
export const add = (manager: EntityManager) => manager.increment(Wallet, { id: 'a' }, 'balance', 1);

/**
 * The clauses, and more of one library's own.
 *
 * @param more is given the world, which is there as soon as a test runs.
 */
export function describeInterop(
  library: Library,
  more: (world: World) => void = () => undefined,
): void {
  const { Transactional } = library;

  /** A transaction around the method, by a wrapper that copies no metadata: the check at boot cannot see it. */
  const carelesslyTransactional: MethodDecorator = (_, __, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as (...args: unknown[]) => Promise<unknown>;
    descriptor.value = function (this: unknown, ...args: unknown[]) {
      return library.inTransaction(() => Reflect.apply(method, this, args));
    };
  };

  @Injectable()
  class Wallets {
    constructor(private readonly moduleRef: ModuleRef) {}

    /** Reads, adds, writes: loses an update whenever two do it at once. */
    async addUnlocked(id: string, amount = 1, dataSource: DataSourceName = 'default') {
      const wallets = library.manager(this.moduleRef, dataSource).getRepository(Wallet);
      const { balance } = await wallets.findOneByOrFail({ id });
      await wallets.update({ id }, { balance: balance + amount });
    }

    @DistributedLock('wallet:{0}')
    async add(id: string, amount = 1): Promise<void> {
      await this.addUnlocked(id, amount);
    }

    @DistributedLock('wallet:{0}')
    @Transactional()
    async addUnderBoth(id: string): Promise<void> {
      await this.addUnlocked(id);
    }

    @Transactional()
    async addTransactional(id: string): Promise<void> {
      await this.addUnlocked(id);
    }

    @DistributedLock('wallet:{0}')
    async addThenThrow(id: string, error: Error): Promise<void> {
      await this.addTransactional(id);
      await this.addUnlocked(id);
      throw error;
    }

    @carelesslyTransactional
    @DistributedLock('wallet:{0}')
    async addCarelessly(id: string): Promise<void> {
      await this.addUnlocked(id);
    }

    @DistributedLock((from: string, to: string) => [`wallet:${from}`, `wallet:${to}`])
    async transfer(from: string, to: string): Promise<void> {
      await this.addUnlocked(from, -1);
      await this.addUnlocked(to, 1);
    }

    @DistributedLock({ key: 'wallet:{0}', transaction: { onOpenTransaction: 'warn' } })
    async addWarned(id: string): Promise<void> {
      await this.addUnlocked(id);
    }

    @DistributedLock({ key: 'wallet:{0}', transaction: { onOpenTransaction: 'hold' } })
    async addHeld(id: string): Promise<void> {
      await this.addUnlocked(id);
    }

    @DistributedLock({ key: 'wallet:{0}', transaction: { dataSource: 'audit' } })
    async addAudit(id: string): Promise<void> {
      await this.addUnlocked(id, 1, 'audit');
    }
  }

  describeWith('postgres')(`${library.name} opens the transactions of locked methods:`, () => {
    const databases: { url: string; drop(): Promise<void>; observer: Client }[] = [];
    let app: InteropApp;
    let wallets: Wallets;
    let happened: string[];

    const world: World = {
      get app() {
        return app;
      },
      get urls() {
        return { default: databases[0]!.url, audit: databases[1]!.url };
      },
      async balance(id = 'a', dataSource = 'default') {
        const { observer } = databases[dataSource === 'default' ? 0 : 1]!;
        const { rows } = await observer.query<{ balance: number }>(
          'SELECT balance FROM wallet WHERE id = $1',
          [id],
        );
        return rows[0]!.balance;
      },
      async joins(work) {
        const before = await world.balance();
        await rejection(
          app.locks.withTransaction('spec', async () => {
            await work();
            throw new Error('rolled back');
          }),
        );
        return (await world.balance()) === before;
      },
    };

    beforeAll(async () => {
      for (const name of ['interop', 'interop_audit']) {
        const database = await createDatabase(databaseUrl(), name);
        const observer = new Client(database.url);
        await observer.connect();
        databases.push({ ...database, observer });
      }
      app = await InteropApp.start(library, world.urls, [Wallets]);
      wallets = app.nest.get(Wallets);
      ({ happened } = app);
    });
    afterAll(async () => {
      await app?.close();
      for (const { observer, drop } of databases) {
        await observer.end();
        await drop();
      }
    });
    beforeEach(async () => {
      for (const { observer } of databases)
        await observer.query(
          `INSERT INTO wallet VALUES ('a', 0), ('b', 0) ON CONFLICT (id) DO UPDATE SET balance = 0`,
        );
      happened.length = 0;
    });
    afterEach(async () => {
      const { rows } = await databases[0]!.observer.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM pg_stat_activity
          WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
      );
      expect(rows[0]!.n).toBe(0);
    });

    const atOnce = (call: (n: number) => Promise<unknown>, calls = CALLS) =>
      Promise.all(Array.from({ length: calls }, (_, n) => call(n)));
    const busy = () =>
      app.locks.outsideTransaction(async () => {
        const hold = await app.locks.tryAcquire('wallet:a');
        await hold?.release();
        return hold === null;
      });

    describe('the order', () => {
      it('is acquire, START, fence, method, COMMIT, callbacks, release', async () => {
        await app.locks.withTransaction('wallet:a', async () => {
          afterCommit(() => void happened.push('afterCommit'));
          await wallets.addUnlocked('a');
        });
        expect(happened).toEqual([...LOCKED, ...ADDED, 'COMMIT', 'afterCommit', 'released']);
        expect(await world.balance()).toBe(1);
      });

      it('is the same with @DistributedLock above the library’s decorator: one transaction', async () => {
        await wallets.addUnderBoth('a');
        expect(happened).toEqual([...LOCKED, ...ADDED, 'COMMIT', 'released']);
        expect(await world.balance()).toBe(1);
      });

      it('of a method that throws is ROLLBACK, callbacks, release; methods under the library’s decorator have joined', async () => {
        const error = new Error('no');
        const thrown = await rejection(
          app.locks.withTransaction('wallet:a', async () => {
            afterRollback(() => void happened.push('afterRollback'));
            await wallets.addThenThrow('a', error);
          }),
        );
        expect(thrown).toBe(error);
        expect(happened).toEqual([
          ...LOCKED,
          ...ADDED,
          ...ADDED,
          'ROLLBACK',
          'afterRollback',
          'released',
        ]);
        expect(await world.balance()).toBe(0);
      });

      it('of a retry is one acquisition, two transactions, one token, one release', async () => {
        const tokens: unknown[] = [];
        await app.locks.withTransaction(
          'wallet:a',
          { transaction: { retry: { attempts: 2 } } },
          async () => {
            tokens.push(currentHold()?.fencingToken);
            await wallets.addUnlocked('a');
            if (tokens.length === 1) throw Object.assign(new Error('gave up'), { code: '40001' });
          },
        );
        expect(happened).toEqual([
          ...LOCKED,
          ...ADDED,
          'ROLLBACK',
          'START TRANSACTION',
          'fence',
          ...ADDED,
          'COMMIT',
          'released',
        ]);
        expect(tokens[0]).toBeTypeOf('bigint');
        expect(tokens[1]).toBe(tokens[0]);
        expect(await world.balance()).toBe(1);
      });

      it('mutant: a method that releases its lock before the COMMIT does not commit', async () => {
        const error = await rejection(
          app.locks.withTransaction('wallet:a', async ({ hold }) => {
            await wallets.addUnlocked('a');
            await hold.release();
          }),
        );
        expect(error).toMatchObject({ code: 'LOCK_NOT_HELD', committed: false });
        expect(happened.slice(-1)).toEqual(['ROLLBACK']);
        expect(await world.balance()).toBe(0);
      });
    });

    describe(`${CALLS} increments at a time`, () => {
      it.each(LEVELS)('lose none at %s', async (isolation) => {
        const levels = new Set<string>();
        await atOnce(() =>
          app.locks.withTransaction('wallet:a', { transaction: { isolation } }, async () => {
            const [row] = await app
              .manager()
              .query<{ level: string }[]>(
                `SELECT current_setting('transaction_isolation') AS level`,
              );
            levels.add(row!.level.toUpperCase());
            await wallets.addUnlocked('a');
          }),
        );
        expect([...levels]).toEqual([isolation]);
        expect(await world.balance()).toBe(CALLS);
        expect(happened.filter((each) => each === 'fence')).toHaveLength(CALLS);
      });

      it('lose none under both decorators', async () => {
        await atOnce((n) => (n % 2 === 0 ? wallets.addUnderBoth('a') : wallets.add('a')));
        expect(await world.balance()).toBe(CALLS);
      });

      it('control: in the library’s transactions without a lock, they do', async () => {
        await atOnce(() => wallets.addTransactional('a'));
        expect(await world.balance()).toBeLessThan(CALLS);
      });
    });

    describe('an open transaction of the library around a locked call', () => {
      it('is seen: refused with advice, nothing is locked, nothing runs', async () => {
        const error = await rejection(library.inTransaction(() => wallets.add('a')));
        expect(error).toMatchObject({
          code: 'LOCK_INSIDE_TRANSACTION',
          methodRan: false,
          message: expect.stringContaining('Wallets.add'),
        });
        expect(happened).toEqual(['START TRANSACTION', 'ROLLBACK']);
        expect(await world.balance()).toBe(0);
      });

      it('is seen at the call where a wrapper that copies no metadata hides it from the check at boot', async () => {
        const error = await rejection(wallets.addCarelessly('a'));
        expect(error).toMatchObject({ code: 'LOCK_INSIDE_TRANSACTION', methodRan: false });
        expect(await world.balance()).toBe(0);
      });

      it('control: allowed with a warning, it loses updates', async () => {
        await atOnce(() => library.inTransaction(() => wallets.addWarned('a')));
        expect(await world.balance()).toBeLessThan(CALLS);
      });

      it("with 'hold' keeps the lock until it has ended: START, acquire, fence, COMMIT, release", async () => {
        await library.inTransaction(async () => {
          await wallets.addHeld('a');
          expect(await busy()).toBe(true);
          happened.push('inner returned');
        });
        happened.push('outer returned');
        expect(happened.filter((each) => each !== 'timed-out')).toEqual([
          'START TRANSACTION',
          'attempted',
          'acquired',
          'fence',
          ...ADDED,
          'attempted', // by busy()
          'inner returned',
          'COMMIT',
          'released',
          'outer returned',
        ]);
        expect(await world.balance()).toBe(1);
      });

      it("with 'hold' and a rollback releases after it", async () => {
        await rejection(
          library.inTransaction(async () => {
            await wallets.addHeld('a');
            throw new Error('no');
          }),
        );
        expect(happened.slice(-2)).toEqual(['ROLLBACK', 'released']);
        expect(await world.balance()).toBe(0);
      });

      it(`with 'hold', ${CALLS} increments at a time lose none`, async () => {
        await atOnce(() => library.inTransaction(() => wallets.addHeld('a')));
        expect(await world.balance()).toBe(CALLS);
      });
    });

    it('several keys pass in one statement; transfers in both directions at a time lose nothing', async () => {
      await atOnce((n) => (n % 3 === 0 ? wallets.transfer('b', 'a') : wallets.transfer('a', 'b')));
      expect(await world.balance('a')).toBe(-20);
      expect(await world.balance('b')).toBe(20);
      expect(happened.filter((each) => each === 'fence')).toHaveLength(CALLS);
    });

    it('another DataSource, by the name that it has in both, gets its own transaction and fence', async () => {
      await Promise.all([
        atOnce(() => wallets.addAudit('a'), 20),
        atOnce(() => wallets.add('a'), 20),
      ]);
      expect(await world.balance('a', 'audit')).toBe(20);
      expect(await world.balance('a')).toBe(20);
      expect(happened.filter((each) => each === 'fence')).toHaveLength(20); // of the default one
      const fences = await databases[1]!.observer.query<{ lock_key: string }>(
        'SELECT lock_key FROM lock_fence',
      );
      expect(fences.rows.map((row) => row.lock_key)).toEqual([expect.stringMatching(/:wallet:a$/)]);
    });

    it('a swallowed error that made the database roll back is told', async () => {
      const error = await rejection(
        app.locks.withTransaction('wallet:a', async () => {
          await wallets.addUnlocked('a');
          await app
            .manager()
            .query('SELECT nothing')
            .catch(() => undefined);
        }),
      );
      expect(error).toMatchObject({ code: 'TRANSACTION_ROLLED_BACK', committed: false });
      expect(await world.balance()).toBe(0);
    });

    it('a lock that is lost before the COMMIT rolls back', async () => {
      const error = await rejection(
        app.locks.withTransaction('wallet:a', { leaseTime: 150, renew: false }, async () => {
          await wallets.addUnlocked('a');
          await until('lost', () => happened.includes('lost'));
        }),
      );
      expect(error).toMatchObject({ code: 'LOCK_LOST', methodRan: true, committed: false });
      expect(happened).not.toContain('COMMIT');
      expect(await world.balance()).toBe(0);
    });

    it('a stale token is refused at the fence: the method does not run', async () => {
      await wallets.add('a');
      await databases[0]!.observer.query(`UPDATE lock_fence SET token = ${2n ** 62n}`);
      try {
        const error = await rejection(wallets.add('a'));
        expect(error).toMatchObject({ code: 'FENCING_TOKEN_REGRESSION', methodRan: false });
        expect(await world.balance()).toBe(1);
      } finally {
        await databases[0]!.observer.query('DELETE FROM lock_fence');
      }
    });

    it('work that was not awaited does not reach the database through the manager of a transaction that has ended', async () => {
      const ended = new Gate();
      let floating: Promise<unknown> | undefined;
      await app.locks.withTransaction('wallet:a', async () => {
        const manager = app.manager();
        floating = rejection(
          ended.passed().then(() => manager.query(`UPDATE wallet SET balance = 99`)),
        );
      });
      ended.open();
      expect(await floating).toMatchObject({ code: 'TRANSACTION_CONTEXT_ENDED' });
      expect(await world.balance()).toBe(0);
    });

    more(world);
  });
}
