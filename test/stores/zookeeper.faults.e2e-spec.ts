import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { failureOf, Managed } from '../lock/managed.js';
import { ensureBuilt } from '../support/build.js';
import { eventOf, startWorkers } from '../support/processes.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import {
  type OwnEnsemble,
  type OwnZooKeeper,
  startEnsemble,
  startZooKeeper,
} from '../support/zookeeper.js';

const canStart = inject('canStartZooKeeper');
const SESSION_MS = 2_000;
const SHORT = { sessionTimeout: SESSION_MS } as const;

function lossOf(grant: LockGrant): { reason?: string } {
  const loss: { reason?: string } = {};
  grant.onLost = (reason) => Object.assign(loss, { reason });
  return loss;
}

/** Whether the server was reached and knows the grant. */
function isHonoured(store: LockStore, grant: LockGrant): Promise<boolean> {
  return store.renew([{ grant, leaseTimeMs: 1_000 }]).then(
    ([held]) => held!,
    () => false,
  );
}

/** Callers that go in and out until told to stop, each believing in its grant only while it is valid. */
class Contention {
  entered = 0;
  /** Somebody was inside while the grant of somebody else was still valid, or a token did not grow. */
  readonly anomalies: string[] = [];
  #over = false;
  #inside: LockGrant | null = null;
  #lastToken = -1n;
  readonly #callers: Promise<void>[];

  constructor(stores: readonly LockStore[], key: LockKey) {
    this.#callers = stores.map((store) => this.#call(store, key));
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#callers);
  }

  async #call(store: LockStore, key: LockKey): Promise<void> {
    while (!this.#over) {
      const grant = await store.acquire(request(key, { waitTimeMs: 5_000 })).catch(unavailable);
      if (!grant) continue;
      this.#enter(grant);
      await pause(2);
      if (this.#inside === grant) this.#inside = null;
      await store.release(grant).catch(unavailable);
    }
  }

  #enter(grant: LockGrant): void {
    const before = this.#inside;
    if (before && before.validUntil > now()) this.anomalies.push(`${grant.owner}: two inside`);
    if (grant.fencingToken! <= this.#lastToken) this.anomalies.push(`${grant.owner}: token`);
    this.#lastToken = grant.fencingToken!;
    this.#inside = grant;
    this.entered += 1;
  }
}

function unavailable(error: unknown): null {
  if (error instanceof LockStoreUnavailableError) return null;
  throw error;
}

describe.skipIf(!canStart)('zookeeper, one server', () => {
  let server: OwnZooKeeper;
  let world: ZooKeeperWorld;
  let proxy: TcpProxy;
  beforeAll(async () => {
    server = await startZooKeeper();
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    world = new ZooKeeperWorld(server.url, SHORT);
    proxy = await TcpProxy.start({ port: server.port });
  });
  afterEach(async () => {
    await proxy.pass();
    await world.close();
    await proxy.close();
  });

  const behindProxy = () => world.store({ connectString: `127.0.0.1:${proxy.port}` });

  describe('a connection', () => {
    it('that breaks frees nothing: the holder goes on, and so does the place of a waiter', async () => {
      const [holder, waiter] = [await behindProxy(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const loss = lossOf(grant);
      const waiting = take(waiter, key);
      await until('it to queue', async () => (await world.places()).length === 2);
      const places = await world.places();
      proxy.cut();
      await until('the holder to be back', () => isHonoured(holder, grant));
      expect(await world.places()).toEqual(places);
      expect(await holder.release(grant)).toBe('released');
      expect(await waiter.release(await waiting)).toBe('released');
      expect(loss.reason).toBeUndefined();
      expect(await world.places()).toEqual([]);
    });

    it('that is down while the key is released wakes the waiter when it is back', async () => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const waiting = take(waiter, key);
      // The waiter's, and that of the holder, who watches its own node by then.
      await until('both watches', async () => (await server.ask('wchs')).includes('watches:2'));
      await proxy.refuse();
      await holder.release(grant);
      await proxy.pass();
      await waiter.release(await waiting);
      expect(await world.places()).toEqual([]);
    });

    it.each([
      ['mutex', '-lock-'],
      ['semaphore-mutex', '-lease-'],
    ] as const)('that breaks after a place was taken finds it again (%s)', async (layout, name) => {
      const connectString = `127.0.0.1:${proxy.port}`;
      const store = await world.store({ connectString, layout });
      const key = freshKey();
      await store.release(await take(store, key)); // its directories are there
      const cut = proxy.cutBeforeReplyTo(name);
      const grant = await take(store, key);
      await cut;
      await until('one place', async () => (await world.places()).length === 1);
      expect((await world.places())[0]).toContain(grant.owner);
      expect(await store.release(grant)).toBe('released');
      expect(await world.places()).toEqual([]);
    });

    it('that breaks under a try is unavailable, never busy, and leaves nothing behind', async () => {
      const store = await behindProxy();
      const key = freshKey();
      await store.release(await take(store, key));
      const cut = proxy.cutBeforeReplyTo('-lock-');
      expect(await failureOf(store.acquire(request(key)))).toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await cut;
      await until('the place to go', async () => (await world.places()).length === 0);
    });

    it('that breaks under a release has released: later, if not at once', async () => {
      const [store, other] = [await behindProxy(), await world.store()];
      const grant = await take(store, freshKey());
      const cut = proxy.cutBeforeReplyTo(grant.owner);
      await expect(store.release(grant)).rejects.toBeInstanceOf(LockStoreUnavailableError);
      await cut;
      const current = await take(other, grant.key);
      expect(await store.release(grant)).toBe('not-held');
      expect(await other.release(current)).toBe('released');
    });

    it('that is down when a hold is released: the release is told later, long before the session ends', async () => {
      const [store, other] = [
        await world.store({ connectString: `127.0.0.1:${proxy.port}`, sessionTimeout: 60_000 }),
        await world.store(),
      ];
      const grant = await take(store, freshKey());
      await proxy.refuse();
      await expect(store.release(grant)).rejects.toBeInstanceOf(LockStoreUnavailableError);
      const waiting = take(other, grant.key, { waitTimeMs: 10_000 });
      await proxy.pass();
      await other.release(await waiting);
    });

    it('that is down fails a wait when its time is over: unavailable, not busy', async () => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      await take(holder, key);
      const waiting = failureOf(waiter.acquire(request(key, { waitTimeMs: 300 })));
      await until('it to queue', async () => (await world.places()).length === 2);
      await proxy.refuse();
      expect(await waiting).toBeInstanceOf(LockStoreUnavailableError);
      await proxy.pass();
      await until('its place to go', async () => (await world.places()).length === 1);
    });
  });

  describe('a network that swallows everything', () => {
    it('ends a hold no later than its successor enters', async () => {
      const [evicted, successor] = [await behindProxy(), await world.store()];
      const key = freshKey();
      const old = await take(evicted, key);
      const loss = lossOf(old);
      const waiting = take(successor, key, { waitTimeMs: 20_000 });
      proxy.blackhole();
      const current = await waiting;
      expect(old.validUntil, 'the evicted holder still believes').toBeLessThanOrEqual(now());
      // The control: nobody could have told it. Only its own clock ended the hold.
      expect(loss.reason).toBeUndefined();
      expect(current.fencingToken! > old.fencingToken!).toBe(true);
      await proxy.pass();
      await until('it to be told', () => loss.reason === 'session-ended');
      expect(await evicted.release(old)).toBe('not-held');
      const again = await evicted.acquire(request(key, { waitTimeMs: 500 })); // in a new session
      expect(again, 'the successor is untouched').toBeNull();
      expect(await successor.release(current)).toBe('released');
      await evicted.release(await take(evicted, key));
    });

    it('fires the lost signal of a hold, by its own clock', async () => {
      const [managed, successor] = [new Managed(await behindProxy()), await world.store()];
      const key = freshKey();
      const hold = await managed.enter(key, { leaseTimeMs: 30_000 });
      const lost = new Promise<number>((resolve) => {
        hold.lost.addEventListener('abort', () => resolve(now()));
      });
      const waiting = take(successor, key, { waitTimeMs: 20_000 });
      proxy.blackhole();
      const current = await waiting;
      const enteredAt = now();
      expect(hold.isHeld()).toBe(false);
      expect(await lost).toBeLessThanOrEqual(enteredAt);
      await successor.release(current);
    });

    it('control: without it a hold lasts for many session timeouts, with few renewals', async () => {
      const managed = new Managed(await behindProxy());
      const hold = await managed.enter(freshKey(), { leaseTimeMs: 30_000 });
      await pause(3 * SESSION_MS);
      expect(hold.isHeld()).toBe(true);
      expect(managed.types).toEqual(['acquired']);
      await hold.end();
      expect(managed.types).toEqual(['acquired', 'released']);
    });

    it('and heals in time costs nothing', async () => {
      const store = await behindProxy();
      const grant = await take(store, freshKey());
      const loss = lossOf(grant);
      proxy.blackhole();
      const { validUntil } = grant;
      await pause(SESSION_MS / 4);
      await proxy.pass();
      await until('news', () => grant.validUntil > validUntil);
      expect(loss.reason).toBeUndefined();
      expect(await store.release(grant)).toBe('released');
    });

    it('costs a waiter its place, not the lock: it queues again in a new session', async () => {
      const [holder, waiter] = [await world.store(), await behindProxy()];
      const key = freshKey();
      const grant = await take(holder, key);
      const waiting = take(waiter, key, { waitTimeMs: 30_000 });
      await until('it to queue', async () => (await world.places()).length === 2);
      proxy.blackhole();
      await until('the server to end the session', async () => (await world.places()).length === 1);
      await proxy.pass();
      await until('a new place', async () => (await world.places()).length === 2);
      await holder.release(grant);
      await waiter.release(await waiting);
    });
  });

  describe('the server', () => {
    it('killed and started again keeps sessions, holders and waiters', async () => {
      const [holder, waiter] = [
        await world.store({ sessionTimeout: 10_000 }),
        await world.store({ sessionTimeout: 10_000 }),
      ];
      const key = freshKey();
      const grant = await take(holder, key);
      const loss = lossOf(grant);
      const waiting = take(waiter, key, { waitTimeMs: 30_000 });
      await until('it to queue', async () => (await world.places()).length === 2);
      await server.restart();
      await until('the holder to be back', () => isHonoured(holder, grant));
      expect(loss.reason).toBeUndefined();
      expect(await holder.release(grant)).toBe('released');
      const next = await waiting;
      expect(next.fencingToken! > grant.fencingToken!).toBe(true);
      expect(await waiter.release(next)).toBe('released');
    });

    it('killed in the middle of contention: nobody enters while another is valid', async () => {
      const stores = await Promise.all(Array.from({ length: 4 }, () => world.store()));
      const contention = new Contention(stores, freshKey());
      await until('it to go on', () => contention.entered > 50);
      await server.restart();
      const { entered } = contention;
      await until('it to go on again', () => contention.entered > entered + 50, {
        deadlineMs: 20_000,
      });
      await contention.end();
      expect(contention.anomalies).toEqual([]);
    });

    it('frozen for longer than a session: holds end by their own clocks', async () => {
      const store = await world.store();
      const grant = await take(store, freshKey());
      server.freeze();
      try {
        await until('the deadline', () => grant.validUntil <= now());
        const tried = await failureOf(store.acquire(request(freshKey())));
        expect(tried).toBeInstanceOf(LockStoreUnavailableError);
        await expect(store.renew([{ grant, leaseTimeMs: 1_000 }])).rejects.toBeInstanceOf(
          LockStoreUnavailableError,
        );
      } finally {
        server.thaw();
      }
      await take(store, freshKey(), { waitTimeMs: 20_000 });
    });
  });

  describe('a process', () => {
    const boot = async (key: string) => {
      const pool = await startWorkers({ script: 'zookeeper-worker.mjs', count: 1 });
      const worker = pool.workers[0]!;
      const options = { connectString: server.url, ...SHORT };
      await worker.call('open', { options, namespace: world.namespace });
      await worker.call('take', { key });
      return { pool, worker };
    };

    it('that has closed its store ends by itself', async () => {
      await ensureBuilt();
      const script = fileURLToPath(
        new URL('../support/workers/zookeeper-exit.mjs', import.meta.url),
      );
      const args = [script, server.url, world.namespace];
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 10_000 });
      expect(stdout).toContain('turned away');
      expect(stdout).toContain('closed');
      expect(await world.places()).toEqual([]);
    });

    it('that is killed frees its lock within the session timeout', async () => {
      const other = await world.store();
      const key = freshKey();
      const { pool, worker } = await boot(key);
      expect(await other.acquire(request(key)), 'held by the worker').toBeNull();
      const waiting = take(other, key);
      process.kill(worker.pid, 'SIGKILL');
      const killedAt = now();
      await other.release(await waiting);
      // The server looks once per tick, which is half a second here.
      expect(now() - killedAt).toBeLessThan(SESSION_MS + 1_000);
      await pool.stop();
    });

    it('that is frozen loses its lock after the session timeout, and knows it at its first look', async () => {
      const other = await world.store();
      const key = freshKey();
      const { pool, worker } = await boot(key);
      process.kill(worker.pid, 'SIGSTOP');
      const grant = await take(other, key);
      process.kill(worker.pid, 'SIGCONT');
      expect(await worker.call('look', key)).toBe(false);
      await eventOf(worker, 'lost');
      expect(await worker.call('release', key)).toBe('not-held');
      expect(await other.release(grant)).toBe('released');
      await pool.stop();
    });
  });
});

describe.skipIf(!canStart)('zookeeper, an ensemble of three', () => {
  let ensemble: OwnEnsemble;
  let world: ZooKeeperWorld;
  beforeAll(async () => {
    ensemble = await startEnsemble();
  });
  afterAll(() => ensemble.stop());
  beforeEach(() => {
    world = new ZooKeeperWorld(ensemble.url, SHORT);
  });
  afterEach(() => world.close());

  it('whose leader is killed: holders keep their keys, waiters their places, tokens grow', async () => {
    const [holder, waiter] = [
      await world.store({ sessionTimeout: 10_000 }),
      await world.store({ sessionTimeout: 10_000 }),
    ];
    const key = freshKey();
    const grant = await take(holder, key);
    const loss = lossOf(grant);
    const waiting = take(waiter, key, { waitTimeMs: 30_000 });
    await until('it to queue', async () => (await world.places()).length === 2);
    const leader = await ensemble.leader();
    await leader.kill();
    await until('the holder to be back', () => isHonoured(holder, grant), { deadlineMs: 9_000 });
    expect(loss.reason).toBeUndefined();
    expect(await holder.release(grant)).toBe('released');
    const next = await waiting;
    expect(next.fencingToken! > grant.fencingToken!).toBe(true);
    expect(next.fencingToken! >> 32n, 'a new epoch').toBeGreaterThanOrEqual(
      grant.fencingToken! >> 32n,
    );
    await waiter.release(next);
    await leader.restart();
  });

  it('whose leader is killed in the middle of contention: nobody enters while another is valid', async () => {
    const stores = await Promise.all(Array.from({ length: 6 }, () => world.store()));
    const contention = new Contention(stores, freshKey());
    await until('it to go on', () => contention.entered > 50);
    const leader = await ensemble.leader();
    await leader.kill();
    const { entered } = contention;
    await until('it to go on again', () => contention.entered > entered + 50, {
      deadlineMs: 20_000,
    });
    await leader.restart();
    await contention.end();
    expect(contention.anomalies).toEqual([]);
  });

  it('one of whose servers is frozen: its clients move to another, and keep what they hold', async () => {
    const frozen = (await ensemble.followers())[0]!;
    const others = ensemble.servers.filter((it) => it !== frozen);
    // The first server of the list is chosen at random; begin where the freeze will be.
    const proxy = await TcpProxy.start({ port: frozen.port });
    const list = [`127.0.0.1:${proxy.port}`, ...others.map((it) => it.url)].join(',');
    let holder: LockStore;
    do holder = await world.store({ connectString: list, sessionTimeout: 10_000 });
    while (proxy.connections === 0);
    const grant = await take(holder, freshKey());
    const loss = lossOf(grant);
    frozen.freeze();
    try {
      await until('it to move', () => proxy.connections === 0 && isHonoured(holder, grant), {
        deadlineMs: 9_000,
      });
      expect(loss.reason).toBeUndefined();
      expect(await holder.release(grant)).toBe('released');
    } finally {
      frozen.thaw();
      await proxy.close();
    }
  });

  it('one of whose servers is cut off from the leader: a hold ends no later than its successor enters', async () => {
    const cutOff = (await ensemble.followers())[0]!;
    const others = ensemble.servers.filter((it) => it !== cutOff).map((it) => it.url);
    const evicted = await world.store({ connectString: cutOff.url });
    const successor = await world.store({ connectString: others.join(',') });
    const key = freshKey();
    const old = await take(evicted, key);
    const waiting = take(successor, key, { waitTimeMs: 20_000 });
    ensemble.partition(cutOff);
    try {
      const current = await waiting;
      expect(old.validUntil, 'the evicted holder still believes').toBeLessThanOrEqual(now());
      await successor.release(current);
    } finally {
      await ensemble.heal(cutOff);
    }
  });
});
