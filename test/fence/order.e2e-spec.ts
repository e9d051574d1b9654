import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { EntityManager, Logger } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  currentHold,
  DistributedLockModule,
  DistributedLockService,
  memoryStore,
} from 'nestjs-distributed-lock';
import { afterCommit, typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { StatementLog } from '../transaction/database.js';
import { rejection } from '../transaction/spec-hold.js';
import { canHave, FenceWorld } from './fence-world.js';

describe.each(['postgres', 'mariadb'] as const)(
  'lock, fence, method, commit, release, on %s',
  (name) => {
    describe.skipIf(!canHave(name))('of a database that is there', () => {
      let world: FenceWorld;
      let app: INestApplicationContext;
      let locks: DistributedLockService;
      /** What happened, in order: events of the lock, statements of the transaction. */
      let happened: string[];

      beforeAll(async () => {
        world = await FenceWorld.open(name);
        happened = [];
        const log: Logger = Object.assign(new StatementLog(), {
          logQuery: (query: string) => happened.push(shortened(query)),
        });
        class App {}
        Module({
          imports: [
            TypeOrmModule.forRoot({
              type: name,
              url: world.url,
              entities: [],
              synchronize: true,
              logger: log,
            }),
            DistributedLockModule.forRoot({
              store: memoryStore(),
              transactions: typeormTransactions({ fence: { table: world.fences } }),
            }),
          ],
        })(App);
        app = await NestFactory.createApplicationContext(App, {
          logger: false,
          abortOnError: false,
        });
        locks = app.get(DistributedLockService);
        locks.events.on(({ type }) => happened.push(type));
      });
      afterAll(async () => {
        await app?.close();
        await world?.close();
      });
      beforeEach(() => {
        happened.length = 0;
      });
      afterEach(() => world.reset());

      const shortened = (query: string) => {
        if (query.includes(world.fences)) return 'fence';
        return query.replace(/^(\S+ ?\S*).*/s, '$1');
      };
      const add = ({ manager }: { manager: EntityManager }) => world.add(manager, 1);

      it('in this order, with callbacks before the release', async () => {
        await locks.withTransaction('account:1', async (locked: { manager: EntityManager }) => {
          afterCommit(() => happened.push('afterCommit'));
          await add(locked);
        });
        expect(happened).toEqual([
          'attempted',
          'acquired',
          'START TRANSACTION',
          'fence',
          'SELECT balance',
          `UPDATE ${world.account}`,
          'COMMIT',
          'afterCommit',
          'released',
        ]);
      });

      it('of a method that throws: ROLLBACK before the release', async () => {
        await rejection(locks.withTransaction('account:1', () => Promise.reject(new Error('no'))));
        expect(happened).toEqual([
          'attempted',
          'acquired',
          'START TRANSACTION',
          'fence',
          'ROLLBACK',
          'released',
        ]);
      });

      it('of a retry: one acquisition, the same token, one release', async () => {
        const tokens: unknown[] = [];
        let runs = 0;
        await locks.withTransaction(
          'account:1',
          { transaction: { retry: { attempts: 3 } } },
          async (locked: { manager: EntityManager }) => {
            runs += 1;
            tokens.push(currentHold()?.fencingToken);
            if (runs === 1) throw Object.assign(new Error('gave up'), { code: '40001' });
            await add(locked);
          },
        );
        expect(happened).toEqual([
          'attempted',
          'acquired',
          'START TRANSACTION',
          'fence',
          'ROLLBACK',
          'START TRANSACTION',
          'fence',
          'SELECT balance',
          `UPDATE ${world.account}`,
          'COMMIT',
          'released',
        ]);
        expect(tokens[0]).toBe(tokens[1]);
        expect(tokens[0]).toBeTypeOf('bigint');
      });

      it('mutant: a method that releases its lock before the COMMIT does not commit', async () => {
        const error = await rejection(
          locks.withTransaction<void, EntityManager>('account:1', async ({ manager, hold }) => {
            await world.add(manager, 1);
            await hold.release();
          }),
        );
        expect(error).toMatchObject({ code: 'LOCK_NOT_HELD', committed: false });
        expect(happened).toContain('ROLLBACK');
        expect(happened).not.toContain('COMMIT');
        expect(await world.balance()).toBe(100);
      });

      it('a nested call under the same key passes no second fence, one under another key is refused', async () => {
        await locks.withTransaction('account:1', async () => {
          await locks.withTransaction('account:1', add);
          const refused = await rejection(locks.withTransaction('account:2', add));
          expect(refused).toMatchObject({ code: 'LOCK_INSIDE_TRANSACTION' });
        });
        expect(happened.filter((each) => each === 'fence')).toHaveLength(1);
      });

      it('several keys pass in one statement', async () => {
        await locks.withTransaction(['account:2', 'account:1'], add);
        expect(happened.filter((each) => each === 'fence')).toHaveLength(1);
        const [row] = await world.query<{ n: string }>(`SELECT count(*) AS n FROM ${world.fences}`);
        expect(Number(row!.n)).toBe(2);
      });

      it('asks the store who is right when the database has seen a higher token', async () => {
        await locks.withTransaction('account:1', add);
        await world.query(`UPDATE ${world.fences} SET token = 9223372036854775807`);
        const error = await rejection(locks.withTransaction('account:1', add));
        expect(error).toMatchObject({
          code: 'FENCING_TOKEN_REGRESSION',
          seenToken: 9223372036854775807n,
          methodRan: false,
          committed: false,
          retryable: false,
        });
        expect(await world.balance()).toBe(101);
      });

      it.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
        '60 increments at a time lose none, at %s',
        async (isolation) => {
          await Promise.all(
            Array.from({ length: 60 }, () =>
              locks.withTransaction('account:1', { transaction: { isolation } }, add),
            ),
          );
          expect(await world.balance()).toBe(160);
        },
      );
    });
  },
);
