import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster } from 'ioredis';
import type { DataSourceOptions } from 'typeorm';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { mysqlStore } from '../../src/distributed-lock/store/mysql/index.js';
import { connectionFactory } from '../../src/distributed-lock/store/mysql/mysql.connection.js';
import { mysqlBackend } from '../../src/distributed-lock/store/mysql/mysql.lock-store.js';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { clientFactory } from '../../src/distributed-lock/store/postgres/postgres.connection.js';
import { postgresStoreWith } from '../../src/distributed-lock/store/postgres/postgres.lock-store.js';
import { QueueingLockStore } from '../../src/distributed-lock/store/queueing.lock-store.js';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { redlockStore } from '../../src/distributed-lock/store/redlock/index.js';
import { tableStore } from '../../src/distributed-lock/store/table/index.js';
import { zookeeperStore } from '../../src/distributed-lock/store/zookeeper/index.js';
import { Network } from '../support/network.js';
import { startMariadb, startPostgres, startRedis, startZooKeeper } from '../support/services.js';
import type { FaultBackend } from './fault.contract.js';
import { local, networked, NOTHING } from './fault-world.js';
import { memoryStores } from './memory-world.js';
import { ask as askMysql, MysqlWorld } from './mysql-world.js';
import { ask, PostgresWorld } from './postgres-world.js';
import { RedisWorld } from './redis-world.js';
import { RedlockWorld } from './redlock-world.js';
import { TableWorld } from './table-world.js';
import { ZooKeeperWorld } from './zookeeper-world.js';

const processId = (): string => randomBytes(12).toString('base64url');

/** One server that has every write on disk before it answers. */
export async function redisFaults(): Promise<FaultBackend & { unopened(): LockStore }> {
  const redis = await startRedis({ durable: true });
  // A key that an operator deletes wakes nobody: the next look finds it free.
  const options = { safetyLook: 400, commandTimeout: 1_000 };
  return {
    ...NOTHING,
    async open() {
      const world = new RedisWorld(redis.url, options);
      const network = await Network.to(redis.url);
      const keys = new RedisKeyspace('', world.namespace);
      return networked(world, network, {
        worker: { kind: 'redis', options: { connection: redis.url } },
        behind: () => world.store(network.through[0]),
        takes: (key) => key,
        givesBack: ({ key }) => key,
        evict: ({ key }) => world.client.del(keys.of(key).lock),
      });
    },
    connections: 2, // of the commands, and of the inbox
    keepsHolds: true,
    restart: () => redis.restart(),
    refusals: () => [
      {
        store: redisStore({ connection: new Cluster([redis.url], { lazyConnect: true }) }),
        says: /cluster support disabled/,
      },
    ],
    unopened: () => redisStore({ connection: redis.url }),
    stop: () => redis.stop(),
  };
}

/** Three servers, each with every write on disk before it answers. */
export async function redlockFaults(): Promise<FaultBackend> {
  const servers = await Promise.all([1, 2, 3].map(() => startRedis({ durable: true })));
  const urls = servers.map(({ url }) => url);
  return {
    ...NOTHING,
    async open() {
      const world = new RedlockWorld(servers);
      const network = await Network.to(...urls);
      return networked(world, network, {
        worker: { kind: 'redlock', options: { connections: urls } },
        behind: () => world.store({}, network.through),
        takes: (key) => key,
        givesBack: ({ key }) => key,
        evict: ({ key }) =>
          Promise.all(world.clients.map((client) => client.del(world.lockOf(key)))),
      });
    },
    connections: 3, // one to each
    keepsHolds: true,
    restart: async () => {
      await Promise.all(servers.map((server) => server.restart()));
    },
    refusals: () => [
      {
        store: redlockStore({ connections: [urls[0]!, `${urls[0]!}/1`, urls[1]!] }),
        says: /are the same server \(run_id [0-9a-f]{40}\)/,
      },
    ],
    stop: () => Promise.all(servers.map((server) => server.stop())),
  };
}

export async function zookeeperFaults(): Promise<FaultBackend> {
  const server = await startZooKeeper();
  return {
    ...NOTHING,
    ownership: 'session',
    async open(sessionTimeout) {
      const world = new ZooKeeperWorld(server.url, { sessionTimeout });
      const network = await Network.to(`zookeeper://${server.url}`);
      const connectString = new URL(network.through[0]!).host;
      return networked(world, network, {
        worker: {
          kind: 'zookeeper',
          options: { connectString: server.url, sessionTimeout },
        },
        behind: () => world.store({ connectString }),
        takes: () => '-lock-',
        givesBack: ({ owner }) => owner,
        async evict({ owner }) {
          const node = (await world.places()).find((it) => it.endsWith(owner));
          await world.client.delete(`${world.directory}/${node}`);
        },
      });
    },
    connections: 1,
    keepsHolds: true,
    restart: () => server.restart(),
    refusals: () => [
      {
        store: zookeeperStore({ connectString: `${server.url}/absent` }),
        says: /"connectString" .* chroot that does not exist/,
      },
      {
        store: zookeeperStore({
          connectString: server.url,
          auth: { scheme: 'passport', credentials: 'x' },
        }),
        says: /does not accept "auth"/,
      },
    ],
    stop: () => server.stop(),
  };
}

export async function postgresFaults(): Promise<FaultBackend> {
  const server = await startPostgres();
  const { url } = server;
  await ask(url, 'CREATE SEQUENCE cached AS bigint CACHE 10');
  await ask(url, 'CREATE SEQUENCE backwards AS bigint INCREMENT -1');
  const refused = (sequence: string) =>
    postgresStore({ connection: url, sequence, createSequence: false });
  return {
    ...NOTHING,
    ownership: 'session',
    async open(sessionTimeout) {
      const world = new PostgresWorld(url, { sessionTimeout });
      const network = await Network.to(url);
      return networked(world, network, {
        worker: { kind: 'postgres', options: { connection: url, sessionTimeout } },
        behind: () => world.store(network.through[0]),
        takes: () => 'pg_try_advisory_lock',
        givesBack: () => 'pg_advisory_unlock',
        evict: () =>
          ask(
            url,
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = ANY($1)',
            [network.portsAtServer],
          ),
      });
    },
    connections: 1,
    keepsHolds: false,
    restart: () => server.restart(),
    colliding: () =>
      postgresStoreWith(
        {
          newClient: clientFactory(url),
          sessionTimeoutMs: 10_000,
          push: true,
          sequence: 'distributed_lock_token',
          createSequence: true,
          sessionPooler: false,
          idOf: () => ({ lock: '4711', wait: '4712' }),
        },
        500,
      ),
    refusals: () => [
      {
        store: refused('absent'),
        says: /"absent", which does not exist and must not be created.*CREATE SEQUENCE "absent" AS bigint CACHE 1/,
      },
      { store: refused('cached'), says: /CACHE 10 .*allowed: bigint CACHE 1/ },
      { store: refused('backwards'), says: /INCREMENT -1/ },
    ],
    stop: () => server.stop(),
  };
}

export async function mysqlFaults(): Promise<FaultBackend> {
  const server = await startMariadb();
  const { url } = server;
  await askMysql(url, 'CREATE TABLE other (slot INT, token INT)');
  return {
    ...NOTHING,
    ownership: 'session',
    async open(sessionTimeout) {
      const world = new MysqlWorld(url, { sessionTimeout });
      const network = await Network.to(url);
      return networked(world, network, {
        worker: { kind: 'mysql', options: { connection: url, sessionTimeout } },
        behind: () => world.store(network.through[0]),
        takes: () => 'GET_LOCK',
        givesBack: () => 'RELEASE_LOCK',
        async evict() {
          const hosts = network.portsAtServer.map((port) => `127.0.0.1:${port}`);
          const sql = 'SELECT ID AS id FROM information_schema.PROCESSLIST WHERE HOST IN (?)';
          for (const { id } of await askMysql<{ id: number }>(url, sql, [hosts]))
            await askMysql(url, `KILL ${id}`);
        },
      });
    },
    connections: 1,
    keepsHolds: false,
    restart: () => server.restart(),
    colliding: () =>
      new QueueingLockStore(
        mysqlBackend(
          {
            newConnection: connectionFactory(url, 5_000),
            sessionTimeoutMs: 10_000,
            table: 'distributed_lock_token',
            createTable: true,
            sessionPooler: false,
            idOf: () => ({ lock: 'same-lock', wait: 'same-mark' }),
          },
          250,
        ),
        processId(),
      ),
    refusals: () => [
      {
        store: mysqlStore({ connection: url, table: 'absent', createTable: false }),
        says: /"absent", which does not exist and must not be created.*CREATE TABLE IF NOT EXISTS `absent`/s,
      },
      {
        store: mysqlStore({ connection: url, table: 'other' }),
        says: /"other", which is not a table of tokens/,
      },
    ],
    stop: () => server.stop(),
  };
}

export async function postgresTableFaults(): Promise<FaultBackend> {
  const server = await startPostgres();
  await ask(server.url, 'CREATE TABLE other (id int)');
  return tableFaults(
    server,
    (url) => ({ type: 'postgres', url }),
    async (owner) => {
      await ask(server.url, "UPDATE distributed_lock SET owner = '' WHERE owner = $1", [owner]);
    },
  );
}

export async function mysqlTableFaults(): Promise<FaultBackend> {
  const server = await startMariadb();
  await askMysql(server.url, 'CREATE TABLE other (id int)');
  return tableFaults(
    server,
    (url) => ({ type: 'mariadb', url }),
    async (owner) => {
      await askMysql(server.url, "UPDATE distributed_lock SET owner = '' WHERE owner = ?", [owner]);
    },
  );
}

function tableFaults(
  server: { readonly url: string; restart(): Promise<void>; stop(): Promise<void> },
  optionsOf: (url: string) => DataSourceOptions,
  free: (owner: string) => Promise<void>,
): FaultBackend {
  const dataSource = optionsOf(server.url);
  return {
    ...NOTHING,
    async open() {
      const world = new TableWorld(dataSource, { commandTimeout: '3s' });
      const network = await Network.to(server.url);
      return networked(world, network, {
        worker: { kind: 'table', options: { dataSource } },
        behind: () => world.store({ dataSource: optionsOf(network.through[0]!) }),
        takes: () => 'UPDATE',
        givesBack: () => 'UPDATE',
        // The row has the owner of the turn, without the number of the grant.
        evict: ({ owner }) => free(owner.slice(0, owner.lastIndexOf('.'))),
      });
    },
    connections: 2,
    keepsHolds: true,
    restart: () => server.restart(),
    refusals: () => [
      {
        store: tableStore({ dataSource, table: 'absent', createTable: false }),
        says: /Option "table" of tableStore is "absent", which does not exist.*\(createTable: false\).*CREATE TABLE IF NOT EXISTS .absent./s,
      },
      { store: tableStore({ dataSource, table: 'other' }), says: /has other columns/ },
    ],
    stop: () => server.stop(),
  };
}

/** A file: no server, no network; other processes see it. */
export async function sqliteTableFaults(): Promise<FaultBackend> {
  const folder = mkdtempSync(join(tmpdir(), 'lock-table-'));
  const dataSource: DataSourceOptions = {
    type: 'better-sqlite3',
    database: join(folder, 'locks.sqlite'),
  };
  return {
    ...NOTHING,
    open: async () => local(new TableWorld(dataSource), { kind: 'table', options: { dataSource } }),
    refusals: () => [
      {
        store: tableStore({ dataSource, table: 'absent', createTable: false }),
        says: /which does not exist.*\(createTable: false\)/s,
      },
    ],
    stop: async () => rmSync(folder, { recursive: true }),
  };
}

export async function memoryFaults(): Promise<FaultBackend> {
  return {
    ...NOTHING,
    open: async () => local(memoryStores(), { kind: 'memory', options: {} }),
  };
}
