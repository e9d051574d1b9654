import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockConfigurationError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ask as askMysql, MysqlWorld } from '../contract/mysql-world.js';
import { ask, PostgresWorld } from '../contract/postgres-world.js';
import type { UrlWorld } from '../contract/url-world.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { lossOf } from './contention.js';

/** A server on which an operator ends sessions, and a user of it who may not end those of others. */
interface Server {
  open(): Promise<void>;
  world(): UrlWorld<object>;
  readonly stranger: string;
  close(): Promise<unknown>;
}

const name = `u${randomBytes(4).toString('hex')}`;

function as(url: string, database?: string): string {
  const own = new URL(url);
  own.username = name;
  own.password = 'x';
  if (database !== undefined) own.pathname = `/${database}`;
  return own.href;
}

function postgres(): Server {
  let database: OwnDatabase;
  return {
    async open() {
      database = await createDatabase(inject('databaseUrl')!, 'session_operator');
      await ask(database.url, `CREATE ROLE ${name} LOGIN PASSWORD 'x'`);
      await ask(database.url, 'CREATE SEQUENCE distributed_lock_token AS bigint CACHE 1');
      await ask(database.url, `GRANT USAGE ON SEQUENCE distributed_lock_token TO ${name}`);
    },
    world: () => new PostgresWorld(database.url),
    get stranger() {
      return as(database.url);
    },
    async close() {
      await ask(database.url, `DROP OWNED BY ${name}`);
      await ask(database.url, `DROP ROLE ${name}`);
      await database.drop();
    },
  };
}

function mysql(): Server {
  const url = inject('mysqlUrl')!;
  const database = `session_operator_${name}`;
  const own = new URL(url);
  own.pathname = `/${database}`;
  return {
    async open() {
      await askMysql(url, `CREATE DATABASE ${database}`);
      for (const host of ['localhost', '127.0.0.1', '%'])
        await askMysql(url, `CREATE USER ${name}@'${host}' IDENTIFIED BY 'x'`);
      for (const host of ['localhost', '127.0.0.1', '%'])
        await askMysql(url, `GRANT ALL ON ${database}.* TO ${name}@'${host}'`);
    },
    world: () => new MysqlWorld(own.href),
    stranger: as(url, database),
    async close() {
      for (const host of ['localhost', '127.0.0.1', '%'])
        await askMysql(url, `DROP USER ${name}@'${host}'`);
      await askMysql(url, `DROP DATABASE ${database}`);
    },
  };
}

const SERVERS = [
  { title: 'PostgreSQL', there: inject('databaseUrl') !== null, make: postgres },
  { title: 'MySQL', there: inject('mysqlUrl') !== null, make: mysql },
] as const;

describe.each(SERVERS)('force release on $title', ({ there, make }) => {
  describe.skipIf(!there)('of a server that is there', () => {
    let server: Server;
    beforeAll(async () => {
      server = make();
      await server.open();
    });
    afterAll(() => server?.close());

    it('ends the session: every hold of that process is told, and its waiters are served all the same', async () => {
      const world = server.world();
      try {
        const [evicted, operator] = [await world.store(), await world.store()];
        const [one, another] = [await take(evicted, freshKey()), await take(evicted, freshKey())];
        const busy = await take(operator, freshKey());
        const waiting = take(evicted, busy.key, { waitTimeMs: 20_000 });
        const losses = [one, another].map(lossOf);
        expect(await operator.forceRelease!(one.key)).toBe(1);
        await until('both to be told', () => losses.every(({ reason }) => reason !== undefined));
        expect(losses.map(({ reason }) => reason)).toEqual(['session-ended', 'session-ended']);
        for (const grant of [one, another]) {
          expect(grant.validUntil).toBeLessThan(now());
          expect(await evicted.release(grant)).toBe('not-held');
          expect(await operator.acquire(request(grant.key, { waitTimeMs: 5_000 }))).not.toBeNull();
        }
        expect(await operator.release(busy)).toBe('released');
        expect(await evicted.release(await waiting)).toBe('released');
      } finally {
        await world.close();
      }
    });

    it('of a hold of its own never ends the session of the successor, however fast that one enters', async () => {
      const world = server.world();
      try {
        const [operator, other] = [await world.store(), await world.store()];
        const kept = await take(other, freshKey());
        const loss = lossOf(kept);
        for (let round = 0; round < 20; round += 1) {
          const old = await take(operator, freshKey());
          const waiting = take(other, old.key, { waitTimeMs: 20_000 });
          expect(await other.acquire(request(old.key)), 'it waits').toBeNull();
          expect(await operator.forceRelease!(old.key)).toBe(1);
          expect(await other.release(await waiting)).toBe('released');
        }
        expect(loss.reason).toBeUndefined();
        expect(await other.release(kept)).toBe('released');
      } finally {
        await world.close();
      }
    });

    it('that the server does not permit is refused, and nothing has ended; a stranger may look', async () => {
      const world = server.world();
      try {
        const [holder, stranger] = [await world.store(), await world.store(server.stranger)];
        const grant = await take(holder, freshKey());
        const shown = (await holder.stateOf!(grant.key)).holders;
        expect((await stranger.stateOf!(grant.key)).holders).toEqual(shown);
        expect(shown[0]!.owner).toMatch(/^session \d+$/);
        await expect(stranger.forceRelease!(grant.key)).rejects.toBeInstanceOf(
          LockConfigurationError,
        );
        const [held] = await holder.renew([{ grant, leaseTimeMs: 10_000 }]);
        expect(held, 'goes on').toBe(true);
        const own = await take(stranger, freshKey());
        expect(await stranger.forceRelease!(own.key), 'its own').toBe(1);
        expect(await holder.release(grant)).toBe('released');
      } finally {
        await world.close();
      }
    });
  });
});
