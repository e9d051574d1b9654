import { randomBytes } from 'node:crypto';
import mysql from 'mysql2';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockConfigurationError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { mysqlStore, mysqlTokenTableSql } from '../../src/distributed-lock/store/mysql/index.js';
import { lockName } from '../../src/distributed-lock/store/mysql/mysql.lock-name.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ask, MysqlWorld } from '../contract/mysql-world.js';
import { startMariadb } from '../support/services.js';
import { until } from '../support/until.js';
import { bootOnce } from './boot-once.js';
import { describeSessionStore, type SessionServer } from './session-store.js';

const serverUrl = inject('mysqlUrl');

class Server implements SessionServer {
  readonly takes = 'GET_LOCK';
  readonly database = `mysql_store_${randomBytes(5).toString('hex')}`;
  url = serverUrl ?? '';

  async create(): Promise<void> {
    await ask(this.url, `CREATE DATABASE ${this.database}`);
    const url = new URL(this.url);
    url.pathname = `/${this.database}`;
    this.url = url.href;
  }

  drop(): Promise<unknown> {
    return ask(this.url, `DROP DATABASE ${this.database}`);
  }

  world(): MysqlWorld {
    return new MysqlWorld(this.url);
  }

  unopened(url: string, options: object = {}) {
    return mysqlStore({ connection: url, ...options });
  }
}

describe.skipIf(serverUrl === null)('mysqlStore', () => {
  const server = new Server();
  beforeAll(() => server.create());
  afterAll(() => server.drop());

  const boot = async (options: Partial<Parameters<typeof mysqlStore>[0]>) =>
    bootOnce(mysqlStore({ connection: server.url, ...options }));

  describeSessionStore(server);

  it('leaves no lock and no mark behind, whatever waiters did', async () => {
    const world = server.world();
    try {
      const [holder, other, third] = [
        await world.store(),
        await world.store(),
        await world.store(),
      ];
      const grant = await take(holder, freshKey());
      // One of them has the mark, the other has not.
      const waiting = [other, third].map((store) =>
        store.acquire(request(grant.key, { waitTimeMs: 200 })),
      );
      const { wait: mark } = lockName(server.database, world.namespace, grant.key);
      const marked = async () => {
        const [row] = await ask<{ free: number }>(server.url, 'SELECT IS_FREE_LOCK(?) AS free', [
          mark,
        ]);
        return row!.free === 0;
      };
      await until('one of them to leave its mark', marked);
      expect(await Promise.all(waiting)).toEqual([null, null]);
      expect(await holder.release(grant)).toBe('released');
      for (const store of [other, third, holder])
        await store.release(await take(store, grant.key, { waitTimeMs: 0 }));
      const { lock } = lockName(server.database, world.namespace, grant.key);
      const [free] = await ask(
        server.url,
        'SELECT IS_FREE_LOCK(?) AS `lock`, IS_FREE_LOCK(?) AS mark',
        [lock, mark],
      );
      expect(free).toEqual({ lock: 1, mark: 1 });
    } finally {
      await world.close();
    }
  });

  it('an error half way through a take leaves nothing held, and spares the other holds', async () => {
    const world = new MysqlWorld(server.url, { table: 'passing_token' });
    try {
      const [store, other] = [await world.store(), await world.store()];
      const [kept, key] = [await take(store, freshKey('kept')), freshKey()];
      await ask(server.url, 'DROP TABLE passing_token');
      await expect(store.acquire(request(key, { waitTimeMs: 1_000 }))).rejects.toThrow(
        LockConfigurationError,
      );
      await ask(server.url, mysqlTokenTableSql('passing_token'));
      await other.release(await take(other, key, { waitTimeMs: 0 }));
      expect(await store.release(kept)).toBe('released');
    } finally {
      await world.close();
    }
  });

  it('opens its connection with what a function makes', async () => {
    let made = 0;
    await boot({
      connection: () => {
        made += 1;
        return mysql.createConnection(server.url);
      },
    });
    expect(made).toBe(1);
  });

  describe('refuses', () => {
    it.each([
      [
        { connection: 'postgres://x' },
        /Option "connection" of mysqlStore is "postgres:\/\/x"; allowed: 'mysql/,
      ],
      [
        { pooler: 'any' as 'session' },
        /Option "pooler" of mysqlStore is "any"; allowed: "refuse", "session"/,
      ],
      [{ table: 'a`b' }, /Option "table" of mysqlStore is "a`b"; allowed: 1 to 64 of/],
      [
        { sessionTimeout: '10ms' },
        /Option "mysqlStore.sessionTimeout" is "10ms"; allowed: 1000 ms/,
      ],
      [{ turnGrants: 0 }, /Option "turnGrants" of mysqlStore is 0; allowed: a whole number from 1/],
      [
        { lease: 1 } as never,
        /Option "mysqlStore.lease" is not known \(given: 1\); allowed: connection/,
      ],
    ])('options that make no sense, %#', async (options, message) => {
      await expect(boot(options)).rejects.toThrow(message);
    });

    it('a connection without a database, or with one that is not there', async () => {
      const url = new URL(server.url);
      url.pathname = '/';
      await expect(boot({ connection: url.href })).rejects.toThrow(/names no database/);
      url.pathname = '/no_such_database';
      await expect(boot({ connection: url.href })).rejects.toThrow(LockConfigurationError);
    });

    it.skipIf(!inject('canStartMariadb'))('a read-only server', async () => {
      // A server of its own: the switch is for the whole of it, and other specs run beside this one.
      const own = await startMariadb();
      try {
        // Users with the right to ignore it, like those of the tests, are not stopped.
        await ask(own.url, 'SET GLOBAL read_only = 1');
        await expect(boot({ connection: own.url })).rejects.toThrow(
          /read-only, like a replica.*Connect to the primary/,
        );
        await ask(own.url, 'SET GLOBAL read_only = 0');
        await boot({ connection: own.url });
      } finally {
        await own.stop();
      }
    });
  });
});
