import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take, type StoreWorld } from '../contract/lock-store.contract.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { isServedBeside } from './contention.js';

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
  readonly url: string;
  /** Text in the statements that take. */
  readonly takes: string;
  world(): SessionWorld;
  unopened(url: string, options?: Options): LockStore;
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
  });

  describe('turns', () => {
    const contend = async (options: Options) =>
      isServedBeside(await world.store(server.url, options), await world.store(), 2_000);

    it('end while another process waits', async () => {
      expect(await contend({})).toBe(true);
    });

    it('control: without bounds the other process waits in vain', async () => {
      expect(await contend({ turnGrants: 1_000, turnTime: '1m' })).toBe(false);
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
}
