import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  redisStore,
  type RedisStoreOptions,
} from '../../src/distributed-lock/store/redis/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { RedisWorld } from '../contract/redis-world.js';
import {
  type OwnSentinelGroup,
  startReplicaOf,
  startSentinelGroup,
} from '../support/redis-cluster.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { until } from '../support/until.js';

describe.skipIf(!inject('canStartRedis'))('redisStore with waitReplicas', () => {
  let master: OwnRedis;
  let replica: OwnRedis;
  let world: RedisWorld;
  beforeAll(async () => {
    master = await startRedis();
    replica = await startReplicaOf(master);
    world = new RedisWorld(master.url, { commandTimeout: '1s' });
  });
  afterAll(async () => {
    await world?.close();
    await replica?.stop();
    await master?.stop();
  });

  it.each([-1, 1.5, 101, '1', Number.NaN])('refuses %s', (waitReplicas) => {
    const options = { connection: 'redis://x', waitReplicas } as RedisStoreOptions;
    expect(() => redisStore(options)).toThrow(LockConfigurationError);
    expect(() => redisStore(options)).toThrow('"waitReplicas" of redisStore is');
  });

  it('a missing permission for WAIT is found at boot', async () => {
    await world.client.call('ACL', 'SETUSER', 'nowait', 'on', '>x', '~*', '&*', '+@all', '-wait');
    const url = master.url.replace('//', '//nowait:x@');
    const store = redisStore({ connection: url, waitReplicas: 1 });
    await expect(store.open(world.namespace, 3_000)).rejects.toThrow(/'wait' command/);
    await store.close();
    await world.client.call('ACL', 'DELUSER', 'nowait');
  });

  it('a granted lock is on the replica', async () => {
    const store = await world.store(master.url, { waitReplicas: 1 });
    const onReplica = new Redis(replica.url);
    for (let n = 0; n < 20; n += 1) {
      const key = freshKey();
      const grant = await take(store, key);
      expect(await onReplica.exists(`${world.namespace}:{${key}}:lock`)).toBe(1);
      await store.release(grant);
    }
    onReplica.disconnect();
  });

  it('is told that a replica did not confirm, and leaves nothing held; without the option it is not', async () => {
    const [careful, careless] = [
      await world.store(master.url, { waitReplicas: 1 }),
      await world.store(),
    ];
    const [key, other] = [freshKey(), freshKey()];
    const held = await take(careful, freshKey('held'), { leaseTimeMs: 60_000 });
    replica.freeze();
    try {
      const startedAt = now();
      const failure = await careful
        .acquire(request(key, { leaseTimeMs: 60_000 }))
        .catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LockStoreUnavailableError);
      expect(String(failure)).toMatch(/0 of 1 replicas confirmed the lock within 500 ms/);
      expect(now() - startedAt).toBeLessThan(1_500);
      expect(await careless.release(await take(careless, other)), 'control').toBe('released');
      await until('the key to be free', async () => {
        return (await world.keys(`*${key}*:lock`)).length === 0;
      });

      const stuck = careful.acquire(request(freshKey())).catch((error: unknown) => error);
      const renewedAt = now();
      expect(await careful.renew([{ grant: held, leaseTimeMs: 60_000 }])).toEqual([true]);
      expect(now() - renewedAt, 'a renewal does not stand behind a WAIT').toBeLessThan(250);
      expect(await stuck).toBeInstanceOf(LockStoreUnavailableError);
    } finally {
      replica.thaw();
    }
    expect(await careful.release(held)).toBe('released');
    await until('locks to be granted again', async () => {
      const grant = await careful.acquire(request(key)).catch(() => null);
      return grant !== null && (await careful.release(grant)) === 'released';
    });
  });

  it('a waiter whose lock is confirmed within its wait time gets it', async () => {
    const store = await world.store(master.url, { waitReplicas: 1 });
    const key = freshKey();
    replica.freeze();
    const waiting = take(store, key, { waitTimeMs: 20_000 });
    await until('the first refusal', async () => (await waits()) > 0);
    replica.thaw();
    expect(await store.release(await waiting)).toBe('released');
  });

  it('a hundred locks at once share a few WAITs', async () => {
    const store = await world.store(master.url, { waitReplicas: 1 });
    const before = await waits();
    const keys = Array.from({ length: 100 }, (_, n) => freshKey(`k${n}`));
    const grants = await Promise.all(keys.map((key) => take(store, key)));
    const used = (await waits()) - before;
    expect(used).toBeGreaterThanOrEqual(1);
    expect(used).toBeLessThan(50);
    await Promise.all(grants.map((grant) => store.release(grant)));
  });

  async function waits(): Promise<number> {
    const stats = await world.client.info('commandstats');
    return Number(/cmdstat_wait:calls=(\d+)/.exec(stats)?.[1] ?? 0);
  }
});

describe.skipIf(!inject('canStartRedis'))('redisStore on a Sentinel group', () => {
  let group: OwnSentinelGroup;
  const stores: LockStore[] = [];
  beforeAll(async () => {
    group = await startSentinelGroup();
  });
  afterAll(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await group?.stop();
  });

  async function open(options: Partial<RedisStoreOptions> = {}): Promise<LockStore> {
    const connection = { sentinels: [...group.sentinels], name: group.name };
    const store = redisStore({ connection, commandTimeout: '500ms', ...options });
    stores.push(store);
    await store.open('sentinel', 5_000);
    return store;
  }

  it("role: 'slave' is refused: a replica cannot be written to", () => {
    const { name } = group;
    const connection = { sentinels: [...group.sentinels], name, role: 'slave' as const };
    expect(() => redisStore({ connection })).toThrow(/has role: 'slave'/);
  });

  it('follows the master through a failover: a replicated lock is still held, its waiter is served, tokens grow', async () => {
    const [store, other] = [await open({ waitReplicas: 1 }), await open()];
    const [key, later] = [freshKey(), freshKey()];
    const grant = await take(store, key, { leaseTimeMs: 60_000 });
    const before = await take(other, later);
    await other.release(before);
    const waiting = take(other, key, { waitTimeMs: 50_000, leaseTimeMs: 60_000 });
    await group.master.kill();

    const onReplica = new Redis(group.replica.url);
    await until(
      'the replica to be the master',
      async () => (await onReplica.info('replication')).includes('role:master'),
      { deadlineMs: 30_000 },
    );
    onReplica.disconnect();
    await until(
      'a renewal by the new master',
      () =>
        store.renew([{ grant, leaseTimeMs: 60_000 }]).then(
          ([renewed]) => renewed === true,
          () => false,
        ),
      { deadlineMs: 20_000, everyMs: 20 },
    );
    // Renewals have a connection of their own, which may be there before the other one.
    await until('its commands to reach the new master', () =>
      store.stateOf!(key).then(
        () => true,
        () => false,
      ),
    );
    expect(await store.release(grant)).toBe('released');
    const next = await waiting;
    expect(next.fencingToken! > grant.fencingToken!).toBe(true);
    expect(await other.release(next)).toBe('released');
    const after = await take(other, later);
    expect(after.fencingToken! > before.fencingToken!).toBe(true);
    await other.release(after);
    await expect(
      store.acquire(request(freshKey())),
      'no replica is left to confirm',
    ).rejects.toThrow(/0 of 1 replicas confirmed/);
  });
});
