import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  DistributedLockModule,
  DistributedLockService,
  memoryStore,
} from 'nestjs-distributed-lock';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { canHave, FenceWorld } from '../fence/fence-world.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { rejection } from './spec-hold.js';

const READ_COMMITTED = 'READ COMMITTED';
const KEY = 'account:1';

describe.each(['postgres', 'mariadb'] as const)(
  "onOpenTransaction: 'hold' and a COMMIT that is not answered, on %s",
  (name) => {
    describe.skipIf(!canHave(name))('of a database that is there', () => {
      let world: FenceWorld;
      let proxy: TcpProxy;
      let app: INestApplicationContext;
      let locks: DistributedLockService;
      let dataSource: DataSource;
      const happened: string[] = [];

      beforeAll(async () => {
        world = await FenceWorld.open(name);
        proxy = await TcpProxy.forUrl(world.url);
        class App {}
        Module({
          imports: [
            TypeOrmModule.forRoot({
              type: name,
              url: proxy.url(world.url),
              entities: [],
              synchronize: true,
            }),
            DistributedLockModule.forRoot({
              store: memoryStore(),
              transactions: typeormTransactions({
                fence: { table: world.fences },
                onOpenTransaction: 'hold',
              }),
            }),
          ],
        })(App);
        app = await NestFactory.createApplicationContext(App, {
          logger: false,
          abortOnError: false,
        });
        locks = app.get(DistributedLockService);
        dataSource = app.get(getDataSourceToken());
        locks.events.on(({ type }) => happened.push(type));
      });
      afterAll(async () => {
        await app?.close();
        await proxy?.close();
        await world?.close();
      });
      beforeEach(() => {
        happened.length = 0;
      });
      afterEach(async () => {
        await proxy.pass();
        await world.reset();
      });

      const isBusy = async () => {
        const hold = await locks.tryAcquire(KEY);
        await hold?.release();
        return hold === null;
      };
      /** Held until an outer transaction ends. The lease would be renewed: only its abandonment lets it end. */
      const pay = (leaseTime: number, work?: () => Promise<void>) =>
        dataSource.transaction(READ_COMMITTED, async () => {
          await locks.withTransaction<void, EntityManager>(
            KEY,
            { leaseTime, transaction: { fenced: false } },
            (locked) => world.add(locked.manager, 1),
          );
          await work?.();
        });

      it('although it was committed: the lock is left to its lease', async () => {
        const failed = rejection(
          // Not earlier: READ COMMITTED is a COMMIT, too.
          pay(600, async () => void proxy.cutBeforeReplyTo('COMMIT')),
        );
        expect(await failed).toMatchObject({ query: 'COMMIT' });
        expect(await isBusy()).toBe(true);
        expect(happened).not.toContain('released');
        await until('the end of its lease', async () => !(await isBusy()));
        expect(await world.balance()).toBe(101);
      });

      it('because it never arrived: the same, for nobody can tell', async () => {
        const { subscribers } = dataSource;
        const cutting = {
          beforeQuery: ({ query }: { query: string }) =>
            query === 'COMMIT' ? proxy.cut() : undefined,
        };
        subscribers.push(cutting);
        try {
          expect(await rejection(pay(600))).toMatchObject({ query: 'COMMIT' });
        } finally {
          subscribers.splice(subscribers.indexOf(cutting), 1);
        }
        expect(await isBusy()).toBe(true);
        await until('the end of its lease', async () => !(await isBusy()));
        expect(await world.balance()).toBe(100);
      });

      it('control: an end that the database has answered releases at once', async () => {
        await pay(60_000);
        expect(await isBusy()).toBe(false);
        await rejection(pay(60_000, () => Promise.reject(new Error('no'))));
        expect(await isBusy()).toBe(false);
        expect(await world.balance()).toBe(101);
      });

      it.runIf(name === 'postgres')(
        'while the server still works on it: the next holder is kept out, and then reads the commit',
        async () => {
          await world.query(`
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
              BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$`);
          await world.query(`
            CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON ${world.account}
              DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.balance = 101) EXECUTE FUNCTION slow()`);
          const gate = (await world.dataSource().initialize()).createQueryRunner();
          await gate.query('SELECT pg_advisory_lock(1)');
          const failed = rejection(pay(1_500));
          await until('the COMMIT on the server', async () => {
            const rows = await world.query(
              `SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'advisory' AND datname = current_database()`,
            );
            return rows.length === 1;
          });
          proxy.cut();
          await failed;
          expect(await world.balance()).toBe(100); // what a next holder would read now
          const next = locks.withTransaction<number, EntityManager>(KEY, ({ manager }) =>
            world.read(manager),
          );
          await gate.query('SELECT pg_advisory_unlock(1)');
          await gate.release();
          expect(await next).toBe(101);
        },
      );
    });
  },
);
