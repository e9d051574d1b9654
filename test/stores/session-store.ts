import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take, type StoreWorld } from '../contract/lock-store.contract.js';
import { ensureBuilt } from '../support/build.js';
import { startWorkers } from '../support/processes.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

interface Options {
  readonly sessionTimeout?: string;
  readonly turnGrants?: number;
  readonly turnTime?: string;
}

export interface SessionWorld extends StoreWorld {
  readonly url: string;
  readonly namespace: string;
  store(url?: string, options?: Options): Promise<LockStore>;
}

/** A server whose sessions carry locks, with a database that only this spec uses. */
export interface SessionServer {
  readonly kind: 'postgres' | 'mysql';
  readonly url: string;
  /** Text in the statements that take and give back. */
  readonly takes: string;
  readonly givesBack: string;
  world(): SessionWorld;
  /** A store that is not opened yet, whose keys all share one lock. */
  colliding(): LockStore;
  unopened(url: string, options?: Options): LockStore;
  /** Connections to the database, apart from the one that asks. */
  sessions(): Promise<number>;
  /** Ends them all, as an administrator would. */
  endSessions(): Promise<void>;
}

const SESSION_MS = 1_000;
const SHORT = { sessionTimeout: '1s' };

function lossOf(grant: LockGrant): { reason?: string; at?: number } {
  const loss: { reason?: string; at?: number } = {};
  grant.onLost = (reason) => Object.assign(loss, { reason, at: now() });
  return loss;
}

/** What the two stores whose locks live as long as a connection promise beyond the contract. */
export function describeSessionStore(server: SessionServer): void {
  let world: SessionWorld;
  let proxy: TcpProxy;
  beforeEach(async () => {
    world = server.world();
    proxy = await TcpProxy.forUrl(server.url);
  });
  afterEach(async () => {
    await proxy.pass();
    await world.close();
    await proxy.close();
  });
  const throughProxy = (options: Options = SHORT) => world.store(proxy.url(server.url), options);

  describe('connections', () => {
    it('has one, for a hundred holds and two hundred waiters', async () => {
      const [holder, store] = [await world.store(), await world.store()];
      const busy = await take(holder, freshKey('busy'));
      const held = await Promise.all(
        Array.from({ length: 100 }, (_, n) => take(store, freshKey(`held${n}`))),
      );
      const waiting = Array.from({ length: 200 }, () =>
        store.acquire(request(busy.key, { waitTimeMs: 20_000 })),
      );
      expect(await server.sessions()).toBe(2);
      await holder.release(busy);
      for (const grant of waiting) await store.release((await grant)!);
      await Promise.all(held.map((grant) => store.release(grant)));
      expect(await server.sessions()).toBe(2);
    });

    it('has none after close', async () => {
      const store = await world.store();
      await take(store, freshKey());
      await store.close();
      await until('the sessions to end', async () => (await server.sessions()) === 0);
    });

    it('keeps a session that has nothing to say', async () => {
      const [holder, other] = [await world.store(server.url, SHORT), await world.store()];
      const grant = await take(holder, freshKey());
      const loss = lossOf(grant);
      await pause(2.5 * SESSION_MS);
      expect(grant.validUntil).toBeGreaterThan(now());
      expect(await other.acquire(request(grant.key))).toBeNull();
      expect(await holder.renew([{ grant, leaseTimeMs: 10_000 }])).toEqual([true]);
      expect(await holder.release(grant)).toBe('released');
      expect(loss).toEqual({});
    });

    it('opens late: a server that cannot be reached is an error in time, and then it is there', async () => {
      await proxy.refuse();
      const store = server.unopened(proxy.url(server.url));
      const startedAt = now();
      await expect(store.open(world.namespace, 300)).rejects.toBeInstanceOf(
        LockStoreUnavailableError,
      );
      expect(now() - startedAt).toBeLessThan(1_500);
      await expect(store.acquire(request(freshKey()))).rejects.toBeInstanceOf(
        LockStoreUnavailableError,
      );
      await proxy.pass();
      await store.release(await take(store, freshKey()));
      await store.close();
    });
  });

  describe('the end of a session', () => {
    it('is told to its holders; waiters go on, and the next token is greater', async () => {
      const [holder, other] = [await world.store(), await world.store()];
      const old = await take(holder, freshKey());
      const loss = lossOf(old);
      const waiting = [take(other, old.key), take(holder, old.key)];
      await server.endSessions();
      const first = await Promise.race(waiting);
      expect(loss.reason).toBe('session-ended');
      expect(old.validUntil).toBeLessThan(now());
      expect(first.fencingToken! > old.fencingToken!).toBe(true);
      expect(await holder.renew([{ grant: old, leaseTimeMs: 1_000 }])).toEqual([false]);
      expect(await holder.release(old)).toBe('not-held');
      const second = waiting.map(async (grant) => {
        const store = grant === waiting[0] ? other : holder;
        return store.release(await grant);
      });
      expect(await Promise.all(second)).toEqual(['released', 'released']);
    });

    it('by silence: a holder that is cut off stops believing no later than its successor enters', async () => {
      const [holder, other] = [await throughProxy(), await world.store()];
      const old = await take(holder, freshKey());
      const loss = lossOf(old);
      proxy.blackhole();
      const startedAt = now();
      const current = await take(other, old.key);
      const enteredAt = now();
      expect(old.validUntil).toBeLessThanOrEqual(enteredAt);
      expect(enteredAt - startedAt).toBeLessThan(SESSION_MS + 2_500);
      await until('the holder to be told', () => loss.reason !== undefined);
      expect(loss).toMatchObject({ reason: 'session-ended' });
      expect(loss.at! - enteredAt).toBeLessThan(200);
      expect(current.fencingToken! > old.fencingToken!).toBe(true);
      await proxy.pass();
      expect(await holder.release(old)).toBe('not-held');
      expect(
        await holder.acquire(request(old.key)).catch(() => null),
        'the successor stays',
      ).toBeNull();
      expect(await other.release(current)).toBe('released');
      await holder.release(await take(holder, freshKey('after')));
    });

    it('control: a holder that is cut off for less than that keeps its lock', async () => {
      const [holder, other] = [await throughProxy({ sessionTimeout: '5s' }), await world.store()];
      const grant = await take(holder, freshKey());
      const loss = lossOf(grant);
      proxy.blackhole();
      expect(await other.acquire(request(grant.key, { waitTimeMs: 1.5 * SESSION_MS }))).toBeNull();
      await proxy.pass();
      expect(await holder.renew([{ grant, leaseTimeMs: 1_000 }])).toEqual([true]);
      expect(await holder.release(grant)).toBe('released');
      expect(loss).toEqual({});
    });

    it('by a reset: a waiter is served once, and nothing stays behind', async () => {
      const [holder, waiter] = [await world.store(), await throughProxy()];
      const busy = await take(holder, freshKey());
      let served = 0;
      const waiting = take(waiter, busy.key).then((grant) => {
        served += 1;
        return grant;
      });
      await pause(50);
      proxy.cut();
      await pause(50);
      await holder.release(busy);
      expect(await waiter.release(await waiting)).toBe('released');
      expect(served).toBe(1);
      expect(await holder.acquire(request(busy.key)), 'free').not.toBeNull();
    });

    it('when the answer to a take never comes: the key is free again, and the caller is served', async () => {
      const [store, other] = [await throughProxy(), await world.store()];
      const key = freshKey();
      const dropped = proxy.dropReplyTo(server.takes);
      const waiting = take(store, key);
      await dropped;
      expect(await other.acquire(request(key)), 'taken, though nobody knows').toBeNull();
      const grant = await waiting;
      expect(await other.acquire(request(key))).toBeNull();
      expect(await store.release(grant)).toBe('released');
      expect(await other.acquire(request(key))).not.toBeNull();
    });

    it('when the connection breaks in a release: an error to its caller, and the key is free', async () => {
      const [store, other] = [await throughProxy(), await world.store()];
      const grant = await take(store, freshKey());
      const cut = proxy.cutBeforeReplyTo(server.givesBack);
      await expect(store.release(grant)).rejects.toBeInstanceOf(LockStoreUnavailableError);
      await cut;
      const current = await take(other, grant.key);
      expect(await store.release(grant)).toBe('not-held');
      expect(await other.release(current)).toBe('released');
    });
  });

  describe('a process', () => {
    beforeAll(() => ensureBuilt());
    const boot = async (key: string) => {
      const pool = await startWorkers({ script: 'store-worker.mjs', count: 1 });
      const worker = pool.workers[0]!;
      const { kind, url } = server;
      const options = { connection: url, ...SHORT };
      await worker.call('open', { kind, options, namespace: world.namespace });
      await worker.call('take', { key });
      return { pool, worker };
    };

    it('that is killed frees its lock at once', async () => {
      const other = await world.store();
      const key = freshKey();
      const { pool, worker } = await boot(key);
      expect(await other.acquire(request(key)), 'held by the worker').toBeNull();
      const waiting = take(other, key);
      process.kill(worker.pid, 'SIGKILL');
      const killedAt = now();
      await other.release(await waiting);
      expect(now() - killedAt, 'no wait for the session to time out').toBeLessThan(SESSION_MS);
      await pool.stop();
    });

    it('that is frozen loses its lock after the session time, and knows it at its first look', async () => {
      const other = await world.store();
      const key = freshKey();
      const { pool, worker } = await boot(key);
      process.kill(worker.pid, 'SIGSTOP');
      const frozenAt = now();
      const grant = await take(other, key);
      expect(now() - frozenAt).toBeLessThan(SESSION_MS + 2_500);
      process.kill(worker.pid, 'SIGCONT');
      expect(await worker.call('look', key)).toBe(false);
      expect(await worker.call('release', key)).toBe('not-held');
      expect(await other.release(grant)).toBe('released');
      await pool.stop();
    });
  });

  describe('turns', () => {
    /** Eight callers of one process, each holding for 5 ms again and again, until another process is served or gives up. */
    const contend = async (options: Options) => {
      const [crowd, other] = [await world.store(server.url, options), await world.store()];
      const key = freshKey();
      const stop = new AbortController();
      const callers = Array.from({ length: 8 }, async () => {
        while (!stop.signal.aborted) {
          const grant = await take(crowd, key, { waitTimeMs: 20_000 });
          await pause(5);
          await crowd.release(grant);
        }
      });
      await pause(50);
      const served = await other.acquire(request(key, { waitTimeMs: 2_000 }));
      stop.abort();
      if (served) await other.release(served);
      await Promise.all(callers);
      return served !== null;
    };

    it('end while another process waits', async () => {
      expect(await contend({})).toBe(true);
    });

    it('control: without bounds the other process waits in vain', async () => {
      expect(await contend({ turnGrants: 1_000, turnTime: '1m' })).toBe(false);
    });
  });

  describe('keys that share one lock', () => {
    it('exclude each other, and one does not wait for itself', async () => {
      const [one, two] = [server.colliding(), server.colliding()];
      for (const store of [one, two]) await store.open(world.namespace, 5_000);
      const [first, second] = [await take(one, freshKey('a')), freshKey('b')];
      expect(await one.acquire(request(second)), 'same process').toBeNull();
      expect(await two.acquire(request(second)), 'another process').toBeNull();
      const waiting = take(one, second, { waitTimeMs: 10_000 });
      expect(await one.release(first)).toBe('released');
      const grant = await waiting;
      expect(grant.fencingToken! > first.fencingToken!).toBe(true);
      expect(await two.acquire(request(first.key))).toBeNull();
      expect(await one.release(grant)).toBe('released');
      await two.release(await take(two, first.key));
      for (const store of [one, two]) await store.close();
    });
  });

  it('an abandoned hold keeps its key closed for the lease and no longer; the session goes on', async () => {
    const [store, other] = [await world.store(), await world.store()];
    const kept = await take(store, freshKey('kept'));
    const grant = await take(store, freshKey(), { leaseTimeMs: 500 });
    store.abandon(grant);
    const abandonedAt = now();
    expect(await store.acquire(request(grant.key)), 'not even its own store').toBeNull();
    const waiting = take(store, grant.key);
    expect(await other.acquire(request(grant.key))).toBeNull();
    const current = await waiting;
    expect(now() - abandonedAt).toBeGreaterThan(450);
    expect(current.fencingToken! > grant.fencingToken!).toBe(true);
    expect(await store.release(current)).toBe('released');
    expect(await store.release(kept)).toBe('released');
  });

  it('its traits are what it does', async () => {
    const store = await world.store();
    const { traits } = store;
    expect(traits).toMatchObject({
      name: server.kind,
      ownership: 'session',
      fair: 'process',
      reach: 'server',
      offers: [],
      keeps: 'process',
    });
    // Ownership: the lease time means nothing while the session lives.
    const other = await world.store();
    const grant = await take(store, freshKey(), { leaseTimeMs: 100 });
    await pause(300);
    expect(await other.acquire(request(grant.key))).toBeNull();
    expect(await store.release(grant)).toBe('released');
    // Fencing: over all keys, or for each.
    const tokens: bigint[] = [];
    for (const key of traits.fencing === 'per-key'
      ? Array<typeof grant.key>(20).fill(grant.key)
      : Array.from({ length: 20 }, () => freshKey())) {
      const next = await take([store, other][tokens.length % 2]!, key);
      tokens.push(next.fencingToken!);
      await [store, other][(tokens.length - 1) % 2]!.release(next);
    }
    expect(tokens).toEqual(tokens.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(tokens).size).toBe(20);
  });
}
