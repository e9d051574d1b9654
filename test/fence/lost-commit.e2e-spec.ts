import type { EntitySubscriberInterface } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  CommitOutcomeUnknownError,
  TransactionRolledBackError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import {
  afterCommit,
  afterRollback,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { rejection } from '../transaction/spec-hold.js';
import { type Actor, canHave, FenceWorld, holdWith } from './fence-world.js';

describe.each(['postgres', 'mariadb', 'mysql'] as const)(
  'a COMMIT that is not answered, on %s',
  (name) => {
    describe.skipIf(!canHave(name))('of a database that is there', () => {
      let world: FenceWorld;
      let proxy: TcpProxy;
      /** Speaks to the database through the proxy. */
      let actor: Actor;
      /** Speaks to it directly. */
      let successor: Actor;

      beforeAll(async () => {
        world = await FenceWorld.open(name);
        proxy = await TcpProxy.forUrl(world.url);
        successor = await world.actor();
        await successor.transactions.run({}, holdWith(1, 'warm-up'), async () => undefined);
      });
      afterAll(async () => {
        await proxy?.close();
        await world?.close();
      });
      beforeEach(async () => {
        await proxy.pass();
        actor = await world.actor({}, { url: proxy.url(world.url), poolSize: 2 });
        await actor.transactions.run({}, holdWith(1, 'warm-up'), async () => undefined);
      });
      afterEach(async () => {
        await proxy.pass();
        await actor.dataSource.destroy();
        await world.reset();
      });

      /** Does something at the last moment before COMMIT is sent. */
      function beforeCommit(act: () => void | Promise<void>): void {
        const subscriber: EntitySubscriberInterface = {
          beforeQuery: ({ query }) => (query === 'COMMIT' ? act() : undefined),
        };
        actor.dataSource.subscribers.push(subscriber);
      }

      const pay = (fenced: boolean, hold = holdWith(7)) => {
        const happened: string[] = [];
        const result = actor.transactions.run({ fenced }, hold, async (manager) => {
          afterCommit(() => happened.push('committed'));
          afterRollback(() => happened.push('rolled back'));
          await world.add(manager, 10);
          return 'paid';
        });
        return { result, happened };
      };

      it('because it never arrived: rolled back, and retryable', async () => {
        beforeCommit(() => proxy.cut());
        const { result, happened } = pay(true);
        const error = await rejection(result);
        expect(error).toBeInstanceOf(TransactionRolledBackError);
        expect(error).toMatchObject({
          reason: 'connection-lost',
          methodRan: true,
          committed: false,
          retryable: true,
          cause: expect.any(Error),
        });
        expect(await world.balance()).toBe(100);
        expect(happened).toEqual(['rolled back']);
      });

      it('although it was committed: the caller gets the value', async () => {
        await actor.transactions.run({}, holdWith(3), async () => undefined); // the row exists
        const cut = proxy.cutBeforeReplyTo('COMMIT');
        const { result, happened } = pay(true);
        await cut;
        expect(await result).toBe('paid');
        expect(await world.balance()).toBe(110);
        expect(happened).toEqual(['committed']);
        expect(actor.warnings).toEqual([expect.stringContaining('committed')]);
      });

      it('control: without the fence, nobody knows, in either case', async () => {
        beforeCommit(() => proxy.cut());
        const first = pay(false);
        expect(await rejection(first.result)).toBeInstanceOf(CommitOutcomeUnknownError);
        actor.dataSource.subscribers.pop();
        const cut = proxy.cutBeforeReplyTo('COMMIT');
        const second = pay(false);
        const failed = rejection(second.result);
        await cut;
        expect(await failed).toBeInstanceOf(CommitOutcomeUnknownError);
        expect([first.happened, second.happened]).toEqual([[], []]);
        await until('the commit', async () => (await world.balance()) === 110);
      });

      it('is told right even after a newer holder has overwritten the row', async () => {
        // The database cannot be asked until the newer holder has come and gone.
        const cut = proxy.cutBeforeReplyTo('COMMIT');
        const { result } = pay(true);
        await cut.then(() => proxy.refuse());
        await successor.transactions.run({}, holdWith(8), (manager) => world.add(manager, 100));
        await proxy.pass();
        expect(await result).toBe('paid');
        expect(await world.balance()).toBe(210);
      });

      it('and a newer holder came first: rolled back is told right, too', async () => {
        beforeCommit(() => proxy.refuse());
        const { result } = pay(true);
        const failed = rejection(result);
        await until('the cut', () => proxy.connections === 0);
        await successor.transactions.run({}, holdWith(8), (manager) => world.add(manager, 100));
        await proxy.pass();
        expect(await failed).toBeInstanceOf(TransactionRolledBackError);
        expect(await world.balance()).toBe(200);
      });

      it('and the database stays away: unknown', async () => {
        beforeCommit(() => proxy.refuse());
        const hold = Object.assign(holdWith(7), { renews: false, leftMs: 1_200 });
        const { result, happened } = pay(true, hold);
        const error = await rejection(result);
        expect(error).toBeInstanceOf(CommitOutcomeUnknownError);
        expect(error).toMatchObject({ methodRan: true, committed: 'unknown', retryable: false });
        expect(happened).toEqual([]);
      });
    });
  },
);

describe.skipIf(!canHave('postgres'))(
  'a COMMIT that the server still works on when its connection is cut',
  () => {
    let world: FenceWorld;
    let proxy: TcpProxy;

    beforeAll(async () => {
      world = await FenceWorld.open('postgres');
      proxy = await TcpProxy.forUrl(world.url);
      await world.query(`
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$`);
      await world.query(`
      CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON ${world.account}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.balance = 110) EXECUTE FUNCTION slow()`);
    });
    afterAll(async () => {
      await proxy?.close();
      await world?.close();
    });
    afterEach(() => world.reset());

    const cutWhileItCommits = async () => {
      await until('the COMMIT on the server', async () => {
        const rows = await world.query(
          `SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()`,
        );
        return rows.length === 1;
      });
      proxy.cut();
    };

    it('is waited for: the caller gets the value, the next holder reads the commit', async () => {
      const actor = await world.actor({}, { url: proxy.url(world.url) });
      const successor = await world.actor();
      const paying = actor.transactions.run({}, holdWith(7), async (manager) => {
        await world.add(manager, 10);
        return 'paid';
      });
      await cutWhileItCommits();
      const next = successor.transactions.run({}, holdWith(8), (manager) =>
        world.add(manager, 100),
      );
      expect(await paying).toBe('paid');
      await next;
      expect(await world.balance()).toBe(210);
    });

    it('control: without the fence, a next holder that comes at once does not see it', async () => {
      const actor = await world.actor({ fence: false }, { url: proxy.url(world.url) });
      const successor = await world.actor({ fence: false });
      const paying = rejection(
        actor.transactions.run({}, holdWith(7), (manager) => world.add(manager, 10)),
      );
      await cutWhileItCommits();
      expect(await paying).toBeInstanceOf(CommitOutcomeUnknownError);
      const seen = await successor.transactions.run({}, holdWith(8), (manager) =>
        world.read(manager),
      );
      expect(seen).toBe(100);
      await until('the late commit', async () => (await world.balance()) === 110);
    });
  },
);
