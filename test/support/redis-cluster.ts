import { Redis } from 'ioredis';
import { findBinary } from './binaries.js';
import { type OwnRedis, startRedis } from './redis.js';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, onFreePort, startThrowaway, temporaryDirectory } from './throwaway.js';
import { until } from './until.js';

const SLOTS = 16_384;
const HOST = '127.0.0.1';

/** A Redis Cluster on loopback. */
export interface OwnRedisCluster {
  /** Those that were the masters at the start. */
  readonly nodes: readonly OwnRedis[];
  /** One of the first node, if one was asked for. */
  readonly replicas: readonly OwnRedis[];
  /** Start nodes for an ioredis `Cluster`. */
  readonly startNodes: readonly { readonly host: string; readonly port: number }[];
  /** Moves a slot and the keys in it to another node, as a resharding does. */
  moveSlot(slot: number, from: number, to: number): Promise<void>;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  readonly masters?: number;
  /** Replicas of the first master: 0 or 1. */
  readonly replicas?: number;
  /** After how long a silent node counts as gone. */
  readonly nodeTimeoutMs?: number;
}

export async function startRedisCluster(options: ClusterOptions = {}): Promise<OwnRedisCluster> {
  const { masters = 3, replicas = 0, nodeTimeoutMs = 2_000 } = options;
  const count = masters + replicas;
  const busPorts = await Promise.all(Array.from({ length: count }, () => freePort()));
  const servers = await Promise.all(
    busPorts.map((busPort) => {
      const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(busPort)];
      const quick = [
        '--cluster-node-timeout',
        String(nodeTimeoutMs),
        '--cluster-announce-ip',
        HOST,
      ];
      const replication = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
      return startRedis({ args: [...cluster, ...quick, ...replication] });
    }),
  );
  const nodes = servers.slice(0, masters);
  const all = servers.map(({ url }) => new Redis(url));
  const admins = all.slice(0, masters);
  for (const admin of all) admin.on('error', () => undefined); // a test may kill its node
  const stop = async (): Promise<void> => {
    for (const admin of all) admin.disconnect();
    await Promise.all(servers.map((node) => node.stop()));
  };
  try {
    await meet(admins, nodes, busPorts);
    for (const admin of all.slice(masters)) await follow(admin, admins, nodes[0]!, busPorts[0]!);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    nodes,
    replicas: servers.slice(masters),
    startNodes: servers.map(({ port }) => ({ host: HOST, port })),
    moveSlot: (slot, from, to) => moveSlot(admins, nodes, slot, from, to),
    stop,
  };
}

/** Resolves when the replica has the data of the first master, and every node knows it as its replica. */
async function follow(
  replica: Redis,
  masters: readonly Redis[],
  { port }: OwnRedis,
  busPort: number,
): Promise<void> {
  await replica.call('CLUSTER', 'MEET', HOST, String(port), String(busPort));
  const [id, master] = [await replica.cluster('MYID'), await masters[0]!.cluster('MYID')];
  await until('the replica to know its master', () =>
    replica.call('CLUSTER', 'REPLICATE', master).then(
      () => true,
      () => false,
    ),
  );
  await until(
    'the replica to follow, as every node sees it',
    async () => {
      const link = await replica.info('replication');
      if (!link.includes('master_link_status:up')) return false;
      const views = await Promise.all(
        [replica, ...masters].map((it) => it.cluster('NODES') as Promise<string>),
      );
      return views.every((nodes) => new RegExp(`^${id} .*slave ${master} `, 'm').test(nodes));
    },
    { deadlineMs: 20_000, everyMs: 20 },
  );
}

async function meet(
  admins: readonly Redis[],
  nodes: readonly OwnRedis[],
  busPorts: readonly number[],
): Promise<void> {
  const share = Math.ceil(SLOTS / admins.length);
  for (const [n, admin] of admins.entries()) {
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', String(n + 1));
    const mine = Array.from({ length: share }, (_, slot) => n * share + slot);
    await admin.cluster('ADDSLOTS', ...mine.filter((slot) => slot < SLOTS));
    await admin.call('CLUSTER', 'MEET', HOST, String(nodes[0]!.port), String(busPorts[0]));
  }
  await until(
    'the cluster to be complete, as every node sees it',
    async () => {
      for (const admin of admins) {
        const info = await admin.cluster('INFO');
        if (!info.includes('cluster_state:ok')) return false;
        if (!info.includes(`cluster_slots_ok:${SLOTS}`)) return false;
        if (!info.includes(`cluster_size:${admins.length}`)) return false;
      }
      return true;
    },
    { deadlineMs: 20_000, everyMs: 20 },
  );
}

async function moveSlot(
  admins: readonly Redis[],
  nodes: readonly OwnRedis[],
  slot: number,
  from: number,
  to: number,
): Promise<void> {
  const [source, target] = [admins[from]!, admins[to]!];
  const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')];
  const setSlot = (admin: Redis, ...how: string[]): Promise<unknown> =>
    admin.call('CLUSTER', 'SETSLOT', String(slot), ...how);
  await setSlot(target, 'IMPORTING', sourceId);
  await setSlot(source, 'MIGRATING', targetId);
  const keys = await source.cluster('GETKEYSINSLOT', slot, 1_000);
  const { port } = nodes[to]!;
  if (keys.length > 0)
    await source.call('MIGRATE', HOST, String(port), '', '0', '5000', 'KEYS', ...keys);
  for (const admin of [target, source, ...admins]) await setSlot(admin, 'NODE', targetId);
}

/** A master, its replica and a Sentinel that watches them, on loopback. */
export interface OwnSentinelGroup {
  readonly name: string;
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  readonly master: OwnRedis;
  readonly replica: OwnRedis;
  stop(): Promise<void>;
}

export async function startSentinelGroup(): Promise<OwnSentinelGroup> {
  const started: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((it) => it.stop()));
  };
  try {
    const master = await startRedis();
    started.push(master);
    const replica = await startReplicaOf(master);
    started.push(replica);
    const name = 'locks';
    const sentinel = await startSentinel(name, master.port);
    started.push(sentinel);
    return { name, sentinels: [{ host: HOST, port: sentinel.port }], master, replica, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the replica has the master's data and confirms its writes. */
export async function startReplicaOf(master: OwnRedis): Promise<OwnRedis> {
  const quick = ['--repl-diskless-sync-delay', '0'];
  const replica = await startRedis({ args: ['--replicaof', HOST, String(master.port), ...quick] });
  const admin = new Redis(master.url);
  try {
    await admin.config('SET', 'repl-diskless-sync-delay', '0');
    await until('the replica to follow', async () => (await admin.wait(1, 100)) === 1);
  } finally {
    admin.disconnect();
  }
  return replica;
}

async function startSentinel(
  name: string,
  masterPort: number,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const binary = findBinary(['redis-server', 'valkey-server']);
  if (!binary) throw new Error('This machine has no redis-server.');
  return onFreePort(undefined, async (port) => {
    const directory = temporaryDirectory('sentinel');
    const file = join(directory, 'sentinel.conf');
    const rules = [
      `sentinel monitor ${name} ${HOST} ${masterPort} 1`,
      `sentinel down-after-milliseconds ${name} 400`,
      `sentinel failover-timeout ${name} 3000`,
    ];
    writeFileSync(file, [`port ${port}`, `bind ${HOST}`, `dir ${directory}`, ...rules].join('\n'));
    const admin = new Redis({ host: HOST, port, lazyConnect: true, retryStrategy: () => 20 });
    admin.on('error', () => undefined); // not up yet
    try {
      const server = await startThrowaway({
        name: 'redis-server --sentinel',
        command: binary,
        args: [file, '--sentinel'],
        directory,
        isReady: async () => {
          const replicas = (await admin.call('SENTINEL', 'REPLICAS', name)) as unknown[];
          return replicas.length === 1;
        },
      });
      return { port, stop: () => server.stop() };
    } finally {
      admin.disconnect();
    }
  });
}
