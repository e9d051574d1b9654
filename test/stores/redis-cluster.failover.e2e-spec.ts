import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { RedisClusterWorld } from '../contract/redis-cluster-world.js';
import { type OwnRedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import type { OwnRedis } from '../support/redis.js';
import { until } from '../support/until.js';
import { isHonoured, lossOf } from './contention.js';

const NODES = 3;
const PATIENTLY = { deadlineMs: 20_000, everyMs: 20 } as const;
const LONG = { leaseTimeMs: 60_000, waitTimeMs: 50_000 } as const;

/** Notes in `order` that the call was served. */
function served(order: string[], name: string, waiting: Promise<LockGrant>): Promise<LockGrant> {
  return waiting.then((grant) => {
    order.push(name);
    return grant;
  });
}

describe.skipIf(!inject('canStartRedis'))('redisStore on a Redis Cluster with a replica', () => {
  let cluster: OwnRedisCluster;
  let world: RedisClusterWorld;
  /** What a master and its replica are, changes with each failover. */
  let master: OwnRedis;
  let replica: OwnRedis;
  const admins = new Map<OwnRedis, Redis>();

  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: NODES, replicas: 1, nodeTimeoutMs: 1_000 });
    world = new RedisClusterWorld(cluster, { safetyLook: '1s', commandTimeout: '500ms' });
    [master, replica] = [cluster.nodes[0]!, cluster.replicas[0]!];
    for (const node of [master, replica]) {
      const admin = new Redis(node.url);
      admin.on('error', () => undefined); // one of them is killed
      admins.set(node, admin);
    }
  });
  afterAll(async () => {
    await world?.close();
    for (const admin of admins.values()) admin.disconnect();
    await cluster?.stop();
  });

  const namesOf = (key: LockKey) => new RedisKeyspace('', world.namespace, true).of(key);

  /** A key of the master that has the replica. */
  async function keyThere(name: string): Promise<LockKey> {
    for (;;) {
      const key = freshKey(name);
      const slot = await world.clients[1]!.cluster('KEYSLOT', namesOf(key).lock);
      if (slot < Math.ceil(16_384 / NODES)) return key;
    }
  }

  const queued = (key: LockKey) =>
    until('it to be queued', async () => {
      return (await admins.get(master)!.zcard(namesOf(key).waiting)) === 1;
    });

  /** Every node knows the new master: the cluster serves all slots. */
  async function promoted(): Promise<void> {
    const others = world.clients.slice(1);
    const seesIt = async (client: Redis): Promise<boolean> => {
      const nodes = (await client.cluster('NODES')) as string;
      const isMaster = new RegExp(`:${replica.port}@\\d+\\S* (myself,)?master `).test(nodes);
      return isMaster && (await client.cluster('INFO')).includes('cluster_state:ok');
    };
    const all = [admins.get(replica)!, ...others];
    await until(
      'the replica to be the master',
      async () => (await Promise.all(all.map(seesIt))).every(Boolean),
      PATIENTLY,
    );
    [master, replica] = [replica, master];
  }

  const open = (): Promise<LockStore[]> => Promise.all([world.store(), world.store()]);

  it('CLUSTER FAILOVER: a lock is still held by its owner, its waiter is served, tokens grow', async () => {
    const [store, other] = (await open()) as [LockStore, LockStore];
    const key = await keyThere('graceful');
    const grant = await take(store, key, LONG);
    const loss = lossOf(grant);
    const order: string[] = [];
    const waiting = served(order, 'waiter', take(other, key, LONG));
    await queued(key);
    await admins.get(replica)!.cluster('FAILOVER');
    await promoted();
    expect(await admins.get(master)!.exists(namesOf(key).lock), 'control: it has it now').toBe(1);
    await until('a renewal by the new master', () => isHonoured(store, grant), PATIENTLY);
    expect([order, loss]).toEqual([[], {}]);
    expect(await store.release(grant)).toBe('released');
    const next = await waiting;
    expect(next.fencingToken! > grant.fencingToken!).toBe(true);
    expect(await other.release(next)).toBe('released');
  });

  it('a master that is killed: what its replica has is still held, what it has not is lost, and told; waiters are served, tokens grow', async () => {
    await until('the old master to be a replica', async () => {
      const link = await admins.get(replica)!.info('replication');
      return link.includes('role:slave') && link.includes('master_link_status:up');
    });
    const [store, other] = (await open()) as [LockStore, LockStore];
    const [kept, lost] = [await keyThere('kept'), await keyThere('lost')];
    const held = await take(store, kept, LONG);
    const order: string[] = [];
    const losses = [lossOf(held)];
    const waiting = served(order, 'kept', take(other, kept, LONG));
    await queued(kept);
    expect(await admins.get(master)!.wait(1, 5_000), 'the replica has it').toBe(1);
    replica.freeze();
    await admins.get(master)!.call('CLIENT', 'KILL', 'TYPE', 'replica');
    const orphan = await take(store, lost, LONG); // the replica never hears of it
    losses.push(lossOf(orphan));
    await master.kill();
    replica.thaw();
    await promoted();
    const successor = await take(other, lost, LONG);
    expect(successor.fencingToken! > orphan.fencingToken!, 'a token never goes back').toBe(true);
    await until(
      'the holder to be told',
      async () => !(await isHonoured(store, orphan)) && losses[1]!.reason !== undefined,
      PATIENTLY,
    );
    expect(losses).toEqual([{}, { reason: 'taken-over' }]);
    expect(await store.release(orphan)).toBe('not-held');
    expect(await other.renew([{ grant: successor, leaseTimeMs: 60_000 }])).toEqual([true]);
    expect(await other.release(successor)).toBe('released');

    await until('a renewal by the new master', () => isHonoured(store, held), PATIENTLY);
    expect(order, 'its waiter waits').toEqual([]);
    expect(await other.acquire(request(await keyThere('free'))), 'others go on').not.toBeNull();
    expect(await store.release(held)).toBe('released');
    const next = await waiting;
    expect(next.fencingToken! > held.fencingToken!).toBe(true);
    expect(await other.release(next)).toBe('released');
  });
});
