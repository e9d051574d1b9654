import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import {
  lockTableEntity,
  lockTableSql,
  tableStore,
  type TableStoreOptions,
} from '../../src/distributed-lock/store/table/index.js';
import { TableConnection } from '../../src/distributed-lock/store/table/table.connection.js';
import { TableRows } from '../../src/distributed-lock/store/table/table.rows.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ask as askMysql } from '../contract/mysql-world.js';
import { ask } from '../contract/postgres-world.js';
import { TableWorld } from '../contract/table-world.js';
import { createDatabase, type OwnDatabase, startMariadb } from '../support/services.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { bootOnce } from './boot-once.js';
import { isServedBeside } from './contention.js';
import { startPgBouncer } from './pgbouncer.js';
import { startStandby } from './postgres-standby.js';

const postgresUrl = inject('databaseUrl');

const boot = async (options: TableStoreOptions) => bootOnce(tableStore(options));

describe.skipIf(postgresUrl === null)('tableStore on PostgreSQL', () => {
  let database: OwnDatabase;
  let world: TableWorld;
  const options = (url = database.url): DataSourceOptions => ({ type: 'postgres', url });
  beforeAll(async () => {
    database = await createDatabase(postgresUrl!, 'table_store');
  });
  afterAll(() => database.drop());
  beforeEach(() => {
    world = new TableWorld(options());
  });
  afterEach(() => world.close());

  it('takes a DataSource and leaves it alone; its locks do not join its transactions, nor end with them', async () => {
    const dataSource = await new DataSource(options()).initialize();
    try {
      const [store, other] = [tableStore({ dataSource }), await world.store()];
      await store.open(world.namespace, 5_000);
      const key = freshKey();
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      await runner.query('CREATE TEMP TABLE t (x int)');
      const grant = await take(store, key);
      await runner.rollbackTransaction();
      await runner.release();
      expect(await other.acquire(request(key)), 'still held after the rollback').toBeNull();
      expect(await store.release(grant)).toBe('released');
      await store.close();
      expect(dataSource.isInitialized).toBe(true);
    } finally {
      await dataSource.destroy();
    }
  });

  it('the wall clock of a client has no say: leases are counted by the database', async () => {
    const store = await world.store();
    const key = freshKey();
    const grant = await take(store, key, { leaseTimeMs: 5_000 });
    const [row] = await ask<{ left: number }>(
      database.url,
      `SELECT (expires_at - extract(epoch FROM clock_timestamp()) * 1000)::int AS left FROM distributed_lock WHERE owner = $1`,
      [grant.owner.slice(0, grant.owner.lastIndexOf('.'))],
    );
    expect(row!.left).toBeGreaterThan(3_000);
    expect(row!.left).toBeLessThanOrEqual(5_000);
  });

  it('shows to an operator who holds what, and loses a hold that an operator ends', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const old = await take(store, freshKey('shown'));
    const [row] = await ask<{ name: string; turn: string }>(
      database.url,
      `SELECT name, turn FROM distributed_lock WHERE name = $1`,
      [`${world.namespace}:${old.key}`],
    );
    expect(BigInt(row!.turn) * 1_000n).toBe(old.fencingToken);
    await ask(database.url, `UPDATE distributed_lock SET owner = '' WHERE name = $1`, [row!.name]);
    let reason: string | undefined;
    old.onLost = (why) => (reason = why);
    const current = await take(other, old.key);
    expect(await store.renew([{ grant: old, leaseTimeMs: 1_000 }])).toEqual([false]);
    expect(reason).toBe('taken-over');
    expect(current.fencingToken! > old.fencingToken!).toBe(true);
    expect(await other.release(current)).toBe('released');
  });

  it('deletes rows that nobody uses, and tokens go on growing', async () => {
    const store = await world.store();
    const [old, kept] = [await take(store, freshKey()), await take(store, freshKey('kept'))];
    await store.release(old);
    const connection = new TableConnection(options(), { commandTimeoutMs: 2_000, connections: 1 });
    await connection.connect();
    const rows = new TableRows(connection, 'distributed_lock', 'x');
    const count = async () =>
      (
        await ask<{ n: number }>(
          database.url,
          `SELECT count(*)::int AS n FROM distributed_lock WHERE name LIKE $1`,
          [`${world.namespace}:%`],
        )
      )[0]!.n;
    await rows.purge(60_000);
    expect(await count(), 'used a moment ago').toBe(2);
    await pause(20);
    await rows.purge(10);
    expect(await count(), 'the one that is held').toBe(1);
    await connection.close();
    const again = await take(store, old.key);
    expect(again.fencingToken! > old.fencingToken!).toBe(true);
    expect(await store.release(kept)).toBe('released');
  });

  describe('turns', () => {
    const contend = async (bounds: Partial<TableStoreOptions>) =>
      isServedBeside(await world.store(bounds), await world.store(), 2_500);

    it('end while another process waits', async () => {
      expect(await contend({})).toBe(true);
    });

    it('control: without bounds the other process waits in vain', async () => {
      expect(await contend({ turnGrants: 1_000, turnTime: '1m' })).toBe(false);
    });
  });

  describe('faults', () => {
    let proxy: TcpProxy;
    beforeEach(async () => {
      proxy = await TcpProxy.forUrl(database.url);
    });
    afterEach(async () => {
      await proxy.pass();
      await world.close();
      await proxy.close();
    });
    const throughProxy = (more: Partial<TableStoreOptions> = {}) =>
      world.store({
        dataSource: options(proxy.url(database.url)),
        commandTimeout: '300ms',
        ...more,
      });

    it('a database that does not answer is an error in time, and costs nothing when it is back', async () => {
      const store = await throughProxy();
      await store.release(await take(store, freshKey()));
      proxy.blackhole();
      for (let n = 0; n < 4; n += 1) {
        const startedAt = now();
        await expect(store.acquire(request(freshKey()))).rejects.toBeInstanceOf(
          LockStoreUnavailableError,
        );
        expect(now() - startedAt).toBeLessThan(1_500);
      }
      await proxy.pass();
      await until('the store to be back', async () => {
        const grant = await store.acquire(request(freshKey())).catch(() => null);
        return grant !== null && (await store.release(grant)) === 'released';
      });
    });

    it('the answer to a take that never comes: the row is adopted or given back, never left', async () => {
      const [store, other] = [await throughProxy(), await world.store()];
      const key = freshKey();
      await other.release(await take(other, key));
      const dropped = proxy.dropReplyTo('UPDATE');
      const grant = await take(store, key, { leaseTimeMs: 60_000 });
      await dropped;
      expect(await other.acquire(request(key))).toBeNull();
      expect(await store.release(grant)).toBe('released');
      await other.release(await take(other, key, { waitTimeMs: 3_000 }));
    });

    it('opens late: a database that cannot be reached is an error in time, and then it is there', async () => {
      await proxy.refuse();
      const store = tableStore({ dataSource: options(proxy.url(database.url)) });
      await expect(store.open(world.namespace, 300)).rejects.toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await expect(store.acquire(request(freshKey()))).rejects.toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await proxy.pass();
      await store.release(await take(store, freshKey()));
      await store.close();
    });
  });

  it.skipIf(!inject('canStartPgBouncer'))(
    'works through PgBouncer in transaction mode',
    async () => {
      const bouncer = await startPgBouncer(database.url, 'transaction');
      const pooled = new TableWorld(options(bouncer.url), {});
      try {
        const stores = await Promise.all([pooled.store(), pooled.store(), pooled.store()]);
        const key = freshKey();
        let inside = 0;
        const tokens: bigint[] = [];
        await Promise.all(
          stores.flatMap((store) =>
            Array.from({ length: 20 }, async () => {
              const grant = await take(store, key, { waitTimeMs: 20_000 });
              inside += 1;
              expect(inside).toBe(1);
              tokens.push(grant.fencingToken!);
              await pause(1);
              inside -= 1;
              expect(await store.release(grant)).toBe('released');
            }),
          ),
        );
        expect(tokens).toHaveLength(60);
        expect(tokens).toEqual(tokens.toSorted((a, b) => (a < b ? -1 : 1)));
      } finally {
        await pooled.close();
        await bouncer.stop();
      }
    },
  );

  describe('the table', () => {
    it('can be made by the exported statement, or from the exported entity, by a user who may', async () => {
      await ask(database.url, lockTableSql('postgres', 'by_statement'));
      await boot({ dataSource: options(), table: 'by_statement', createTable: false });
      await ask(database.url, 'CREATE SCHEMA locks');
      const made = new DataSource({
        ...options(),
        entities: [lockTableEntity('locks.by_entity')],
        synchronize: true,
      });
      await made.initialize();
      await made.destroy();
      await boot({ dataSource: options(), table: 'locks.by_entity', createTable: false });
    });

    it('is made once by many stores that start at the same moment', async () => {
      await Promise.all(
        Array.from({ length: 8 }, () => boot({ dataSource: options(), table: 'made_once' })),
      );
    });

    it('of a read replica, or of a user who may only read, is refused', async () => {
      const standby = await startStandby();
      try {
        await expect(boot({ dataSource: options(standby.url) })).rejects.toThrow(
          LockConfigurationError,
        );
      } finally {
        await standby.stop();
      }
      const role = `r${randomBytes(4).toString('hex')}`;
      await boot({ dataSource: options() });
      await ask(database.url, `CREATE ROLE ${role} LOGIN`);
      await ask(database.url, `GRANT SELECT ON distributed_lock TO ${role}`);
      const url = new URL(database.url);
      url.username = role;
      await expect(boot({ dataSource: options(url.href) })).rejects.toThrow(
        /refuses the lock's statements.*permission denied/,
      );
      await ask(database.url, `GRANT ALL ON distributed_lock TO ${role}`);
      await boot({ dataSource: options(url.href) });
      await ask(database.url, `DROP OWNED BY ${role}`);
      await ask(database.url, `DROP ROLE ${role}`);
    });
  });
});

describe.skipIf(!inject('canStartMariadb'))('tableStore on MariaDB', () => {
  it('refuses a read-only server', async () => {
    // A server of its own: the switch is for the whole of it, and other specs run beside this one.
    const server = await startMariadb();
    try {
      const dataSource: DataSourceOptions = { type: 'mariadb', url: server.url };
      await boot({ dataSource });
      await askMysql(server.url, 'SET GLOBAL read_only = 1');
      await expect(boot({ dataSource })).rejects.toThrow(
        /read-only server.*Connect it to the primary/,
      );
    } finally {
      await server.stop();
    }
  });
});

describe('tableStore on SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lock-table-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const dataSource: DataSourceOptions = {
    type: 'better-sqlite3',
    database: join(folder, 'app.sqlite'),
  };

  it('waits for an open transaction of the same process without blocking it', async () => {
    const app = await new DataSource(dataSource).initialize();
    const world = new TableWorld(dataSource);
    try {
      const store = await world.store({ commandTimeout: '10s' });
      const runner = app.createQueryRunner();
      await runner.query('CREATE TABLE t (x int)');
      await runner.startTransaction();
      await runner.query('INSERT INTO t VALUES (1)');
      const waiting = take(store, freshKey());
      await pause(100);
      await runner.commitTransaction();
      expect(await store.release(await waiting)).toBe('released');
    } finally {
      await world.close();
      await app.destroy();
    }
  });

  it('refuses a database that lives in memory', () => {
    const memory: DataSourceOptions = { type: 'better-sqlite3', database: ':memory:' };
    expect(() => tableStore({ dataSource: memory })).toThrow(
      /in memory.*allowed: a file.*memoryStore/,
    );
  });
});

describe('tableStore refuses', () => {
  const dataSource: DataSourceOptions = { type: 'postgres' };
  it.each([
    [
      { dataSource: 'postgres://x' as never },
      /Option "dataSource" of tableStore is "postgres:\/\/x"; allowed: a TypeORM DataSource/,
    ],
    [
      { dataSource: { type: 'mongodb' } },
      /Option "dataSource" of tableStore has the type "mongodb"; allowed: "postgres", "mysql", "mariadb", "better-sqlite3"/,
    ],
    [{ dataSource, table: 'a"; DROP' }, /Option "table" of tableStore is "a\\"; DROP"; allowed/],
    [{ dataSource, keepRows: '1m' }, /Option "tableStore.keepRows" is "1m"; allowed: 3600000 ms/],
    [
      { dataSource, connections: 0 },
      /Option "connections" of tableStore is 0; allowed: a whole number from 1 to 10/,
    ],
    [{ dataSource, ttl: 1 } as never, /Option "tableStore.ttl" is not known/],
  ] as [TableStoreOptions, RegExp][])('options that make no sense, %#', (options, message) => {
    expect(() => tableStore(options)).toThrow(message);
  });
});
