import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { redisStore } from '../../src/distributed-lock/store/redis/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { RedisClusterWorld } from '../contract/redis-cluster-world.js';
import { type OwnRedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { startRedis } from '../support/redis.js';
import { until } from '../support/until.js';

const NODES = 3;

describe.skipIf(!inject('canStartRedis'))('redisStore on a Redis Cluster', () => {
  let cluster: OwnRedisCluster;
  let world: RedisClusterWorld;
  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: NODES });
  });
  beforeEach(() => {
    world = new RedisClusterWorld(cluster);
  });
  afterEach(() => world.close());
  afterAll(() => cluster?.stop());

  const namesOf = (key: LockKey) => new RedisKeyspace('', world.namespace, true).of(key);

  /** The node that has the key, by its place in `cluster.nodes`. */
  async function nodeOf(key: LockKey): Promise<number> {
    const slot = await world.clients[0]!.cluster('KEYSLOT', namesOf(key).lock);
    return Math.floor(slot / Math.ceil(16_384 / NODES));
  }

  async function keyOn(node: number): Promise<LockKey> {
    for (;;) {
      const key = freshKey(`n${node}`);
      if ((await nodeOf(key)) === node) return key;
    }
  }

  it('fact: PUBLISH reaches a subscriber on another node and answers 0', async () => {
    const [here, there] = world.clients;
    const subscriber = new Redis(cluster.nodes[1]!.url);
    const heard: string[] = [];
    subscriber.on('message', (_channel, message: string) => heard.push(message));
    await subscriber.subscribe('inbox');
    expect(await there!.publish('inbox', 'same node')).toBe(1);
    expect(await here!.publish('inbox', 'other node')).toBe(0);
    await until('both messages', () => heard.length === 2);
    subscriber.disconnect();
  });

  it('a release wakes a waiting process whatever nodes the key and its inbox are on', async () => {
    const slow = { safetyLook: '30s' };
    const stores = await Promise.all(Array.from({ length: 4 }, () => world.store(slow)));
    const [holder, ...others] = stores;
    for (let node = 0; node < NODES; node += 1) {
      for (const other of others) {
        const key = await keyOn(node);
        const grant = await take(holder!, key, { leaseTimeMs: 60_000 });
        const waiting = take(other, key, { waitTimeMs: 10_000 });
        await until('it to be queued', async () => {
          return (await world.clients[node]!.zcard(namesOf(key).waiting)) === 1;
        });
        await holder!.release(grant);
        await other.release(await waiting);
      }
    }
  });

  it('a release wakes one process, although its receivers cannot be counted', async () => {
    const slow = { safetyLook: '30s' };
    const first = await world.store(slow);
    const subscribed = await Promise.all(
      world.clients.map((client) => client.pubsub('CHANNELS', `${world.namespace}:inbox:*`)),
    );
    const inboxNode = subscribed.findIndex((channels) => channels.length > 0);
    const node = (inboxNode + 1) % NODES;
    const key = await keyOn(node);
    const [holder, second] = [await world.store(slow), await world.store(slow)];
    const grant = await take(holder, key, { leaseTimeMs: 60_000 });
    const queued = (count: number): Promise<void> =>
      until(`${count} to be queued`, async () => {
        return (await world.clients[node]!.zcard(namesOf(key).waiting)) === count;
      });
    const waiting = take(first, key, { waitTimeMs: 20_000 });
    await queued(1);
    const behind = take(second, key, { waitTimeMs: 20_000 });
    await queued(2);
    const pops = async (): Promise<number> => {
      const stats = await world.clients[node]!.info('commandstats');
      return Number(/cmdstat_zpopmin:calls=(\d+)/.exec(stats)?.[1] ?? 0);
    };
    const before = await pops();
    await holder.release(grant);
    expect((await pops()) - before, 'taken out of the queue').toBe(1);
    const next = await waiting;
    expect(await first.release(next)).toBe('released');
    expect(await second.release(await behind)).toBe('released');
  });

  it('a process that died in the queue costs one safety look', async () => {
    const [holder, other] = [await world.store(), await world.store({ safetyLook: '300ms' })];
    const key = await keyOn(0);
    const grant = await take(holder, key, { leaseTimeMs: 60_000 });
    await world.clients[0]!.zadd(namesOf(key).waiting, 1, 'a-dead-process');
    const waiting = take(other, key, { waitTimeMs: 10_000, leaseTimeMs: 60_000 });
    await until('it to be queued', async () => {
      return (await world.clients[0]!.zcard(namesOf(key).waiting)) === 2;
    });
    const releasedAt = now();
    await holder.release(grant);
    await other.release(await waiting);
    expect(now() - releasedAt).toBeLessThan(1_500);
  });

  it('a lock outlives the move of its slot to another node', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const key = await keyOn(0);
    const slot = await world.clients[0]!.cluster('KEYSLOT', namesOf(key).lock);
    const grant = await take(store, key);
    const waiting = take(other, key, { waitTimeMs: 10_000 });
    await until('it to be queued', async () => {
      return (await world.clients[0]!.zcard(namesOf(key).waiting)) === 1;
    });
    await cluster.moveSlot(slot, 0, 1);
    try {
      expect(await world.clients[1]!.exists(namesOf(key).lock), 'control: it has moved').toBe(1);
      expect(await store.renew([{ grant, leaseTimeMs: 20_000 }])).toEqual([true]);
      expect(await store.release(grant)).toBe('released');
      const next = await waiting;
      expect(next.fencingToken! > grant.fencingToken!).toBe(true);
      expect(await other.release(next)).toBe('released');
    } finally {
      await cluster.moveSlot(slot, 1, 0);
    }
  });

  it('renews locks of all nodes at once, and loses only those that are gone', async () => {
    const store = await world.store();
    const keys = await Promise.all(Array.from({ length: 60 }, (_, n) => keyOn(n % NODES)));
    const grants = await Promise.all(keys.map((key) => take(store, key)));
    await world.clients[1]!.del(namesOf(keys[1]!).lock);
    const answers = await store.renew(grants.map((grant) => ({ grant, leaseTimeMs: 20_000 })));
    expect(answers).toEqual(keys.map((_key, n) => n !== 1));
    await Promise.all(grants.map((grant) => store.release(grant)));
  });

  it('a frozen node: locks of the others go on; its own are "broken", then the cluster is; both mend', async () => {
    const [store, other] = [
      await world.store({ commandTimeout: '300ms' }),
      await world.store({ commandTimeout: '300ms' }),
    ];
    const [lost, fine] = [await keyOn(0), await keyOn(1)];
    const held = await take(store, lost, { leaseTimeMs: 60_000 });
    const kept = await take(store, fine, { leaseTimeMs: 60_000 });
    cluster.nodes[0]!.freeze();
    try {
      await expect(other.acquire(request(lost))).rejects.toBeInstanceOf(LockStoreUnavailableError);
      expect(await store.renew([{ grant: kept, leaseTimeMs: 60_000 }])).toEqual([true]);
      await expect(store.renew([{ grant: held, leaseTimeMs: 60_000 }])).rejects.toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await until('the cluster to be down', async () =>
        (await world.clients[1]!.cluster('INFO')).includes('cluster_state:fail'),
      );
      await expect(other.acquire(request(fine))).rejects.toThrow(/CLUSTERDOWN/);
    } finally {
      cluster.nodes[0]!.thaw();
    }
    await until('the cluster to be well', async () => {
      const infos = await Promise.all(world.clients.map((client) => client.cluster('INFO')));
      return infos.every((info) => info.includes('cluster_state:ok'));
    });
    await until('the store to reach its node', async () =>
      store.renew([{ grant: held, leaseTimeMs: 60_000 }]).then(
        ([renewed]) => renewed === true,
        () => false,
      ),
    );
    expect(await other.acquire(request(lost)), 'held all the time').toBeNull();
    expect(await store.release(held)).toBe('released');
    expect(await store.release(kept)).toBe('released');
    await other.release(await take(other, lost));
  });

  it('connections that are killed are made anew, and wake-ups come again', async () => {
    const [store, other] = [
      await world.store({ safetyLook: '30s' }),
      await world.store({ safetyLook: '30s' }),
    ];
    const key = await keyOn(2);
    const grant = await take(store, key, { leaseTimeMs: 60_000 });
    const waiting = take(other, key, { waitTimeMs: 20_000 });
    await until('it to be queued', async () => {
      return (await world.clients[2]!.zcard(namesOf(key).waiting)) === 1;
    });
    for (const client of world.clients)
      for (const type of ['normal', 'pubsub'])
        await client.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
    await until('a renewal', () =>
      store.renew([{ grant, leaseTimeMs: 60_000 }]).then(
        ([renewed]) => renewed === true,
        () => false,
      ),
    );
    expect(await store.release(grant)).toBe('released');
    await other.release(await waiting);
  });

  it('keeps the keyPrefix of the client', async () => {
    for (const where of ['options', 'redisOptions'] as const) {
      const prefix = { keyPrefix: `${world.namespace}:${where}:` };
      const options = where === 'options' ? prefix : { redisOptions: prefix };
      const connection = new Cluster([...cluster.startNodes], { ...options, lazyConnect: true });
      const store = redisStore({ connection });
      await store.open('ns', 5_000);
      const key = freshKey();
      const grant = await take(store, key);
      const names = new RedisKeyspace(prefix.keyPrefix, 'ns', true).of(key);
      const found = await Promise.all(
        world.clients.map((client) => client.keys(`${prefix.keyPrefix}*`)),
      );
      expect(found.flat()).toContain(names.lock);
      await store.release(grant);
      await store.close();
    }
  });

  it('has a connection to each master and one inbox, and none when it is closed', async () => {
    const connections = async (role: string): Promise<number> => {
      const lists = await Promise.all(world.clients.map((it) => it.call('CLIENT', 'LIST')));
      return lists.join('\n').split(`name=distributed-lock:${role} `).length - 1;
    };
    await until('others to be gone', async () => (await connections('inbox')) === 0);
    const store = await world.store();
    expect([await connections('commands'), await connections('inbox')]).toEqual([NODES, 1]);
    await store.close();
    await until('them to be gone', async () => {
      return (await connections('commands')) + (await connections('inbox')) === 0;
    });
  });

  it('the documented permissions are enough', async () => {
    const p = world.namespace;
    const push = ['+subscribe', '+publish', '+zpopmin'];
    const line = ['+zadd', '+zrem', '+zscore', '+zrange', '+zcard', '+zremrangebyscore'];
    const all = ['+eval', '+evalsha', '+get', '+set', '+del', '+pttl', '+pexpire', '+time'];
    const cluster1 = ['+ping', '+info', '+cluster|slots', '+cluster|info'];
    const rules = ['on', '>x', `~${p}:*`, `&${p}:inbox:*`, ...push, ...line, ...all, ...cluster1];
    for (const client of world.clients) await client.call('ACL', 'SETUSER', 'least', ...rules);
    const redisOptions = { username: 'least', password: 'x' };
    const connection = new Cluster([...cluster.startNodes], { redisOptions, lazyConnect: true });
    const [store, other] = [redisStore({ connection }), redisStore({ connection })];
    await Promise.all([store.open(p, 5_000), other.open(p, 5_000)]);
    for (let node = 0; node < NODES; node += 1) {
      const key = await keyOn(node);
      const grant = await take(store, key);
      const waiting = take(other, key);
      expect(await store.renew([{ grant, leaseTimeMs: 20_000 }])).toEqual([true]);
      expect(await store.release(grant)).toBe('released');
      expect(await other.release(await waiting)).toBe('released');
    }
    await Promise.all([store.close(), other.close()]);
    for (const client of world.clients) await client.call('ACL', 'DELUSER', 'least');
  });

  describe('refuses', () => {
    it('a plain connection to one of the nodes', async () => {
      const store = redisStore({ connection: cluster.nodes[0]!.url });
      const opened = store.open(world.namespace, 3_000);
      const failure = opened.then(() =>
        // The key of the boot check may have been one of this node.
        keyOn(1).then((key) => store.acquire(request(key))),
      );
      await expect(failure).rejects.toThrow(/^.*Redis refuses.*(MOVED \d+|CROSSSLOT)/);
      await expect(failure).rejects.toBeInstanceOf(LockConfigurationError);
      await store.close();
    });

    it('a Cluster client on a server that is none, at boot', async () => {
      const single = await startRedis();
      const connection = new Cluster([single.url], { lazyConnect: true });
      const store = redisStore({ connection });
      await expect(store.open('ns', 3_000)).rejects.toThrow(/cluster support disabled/);
      await store.close();
      await single.stop();
    });

    it('waitReplicas', () => {
      const connection = new Cluster([...cluster.startNodes], { lazyConnect: true });
      expect(() => redisStore({ connection, waitReplicas: 1 })).toThrow(
        'Option "waitReplicas" of redisStore is 1; allowed with a Cluster: 0.',
      );
    });
  });
});
