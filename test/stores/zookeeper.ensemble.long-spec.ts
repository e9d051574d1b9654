import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  inject,
  it,
  onTestFinished,
  vi,
} from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import type { SessionListener } from '../../src/distributed-lock/store/zookeeper/index.js';
import {
  Connection,
  type Welcome,
} from '../../src/distributed-lock/store/zookeeper/wire/connection.js';
import { freshKey, take } from '../contract/lock-store.contract.js';
import { rawSession, ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { failureOf } from '../lock/managed.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { type OwnEnsemble, type OwnZooKeeper, startEnsemble } from '../support/zookeeper.js';
import { Contention, isHonoured, lossOf } from './contention.js';

const canStart = inject('canStartZooKeeper');
const SHORT = { sessionTimeout: 2_000 } as const;

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
    await world.queued(1);
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
    do holder = await world.store({ connectString: list, sessionTimeout: 6_000 });
    while (proxy.connections === 0);
    const grant = await take(holder, freshKey());
    const loss = lossOf(grant);
    frozen.freeze();
    try {
      await until('it to move', () => proxy.connections === 0 && isHonoured(holder, grant));
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

  it('that knows the session on another connection: a release is told again', async () => {
    const [own, elsewhere] = ensemble.servers as [OwnZooKeeper, OwnZooKeeper];
    const tickets: Welcome[] = [];
    const openSession = (listener: SessionListener) => {
      const session = rawSession(own.url, 10_000, listener);
      const welcomed = vi.spyOn(session, 'welcomed');
      void session.whenConnected().then(() => tickets.push(welcomed.mock.calls[0]![0]));
      return session;
    };
    const plain = new ZooKeeperWorld(ensemble.url); // its sessions are those of `openSession`
    onTestFinished(() => plain.close());
    const [holder, other] = [await plain.store({ openSession }), await plain.store()];
    const grant = await take(holder, freshKey());
    // As does a dial that its client has given up and a slow server carries out later.
    await reopen(tickets[0]!, elsewhere);
    // The server answers a moved session by closing its connection.
    expect(await failureOf(holder.release(grant))).toBeInstanceOf(LockStoreUnavailableError);
    await other.release(await take(other, grant.key));
    expect(await isHonoured(holder, await take(holder, grant.key)), 'the same session').toBe(true);
    expect(tickets).toHaveLength(1);
  });
});

/** Resolves when a server carries the session. */
function reopen({ id, password, timeoutMs }: Welcome, { port }: OwnZooKeeper): Promise<void> {
  return new Promise((resolve, reject) => {
    const connection: Connection = new Connection(
      { host: '127.0.0.1', port },
      { id, password, timeoutMs, lastZxid: 0n },
      { timeoutMs: 5_000, tls: null },
      {
        welcomed: () => {
          resolve();
          connection.close('done');
        },
        changed: () => undefined,
        answered: () => undefined,
        refused: () => undefined,
        closed: (reason) => reject(new Error(reason)),
      },
    );
  });
}
