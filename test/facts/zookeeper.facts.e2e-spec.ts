import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { Connection } from '../../src/distributed-lock/store/zookeeper/wire/connection.js';
import * as operations from '../../src/distributed-lock/store/zookeeper/wire/operations.js';
import type { WireSession } from '../../src/distributed-lock/store/zookeeper/wire/session.js';
import { rawSession } from '../contract/zookeeper-world.js';
import { failureOf } from '../lock/managed.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import {
  type OwnEnsemble,
  type OwnZooKeeper,
  startEnsemble,
  startZooKeeper,
} from '../support/zookeeper.js';

/** What the store relies on, shown on a real server. */
describe.skipIf(!inject('canStartZooKeeper'))('ZooKeeper', () => {
  let server: OwnZooKeeper;
  let session: WireSession;
  beforeAll(async () => {
    server = await startZooKeeper();
    session = rawSession(server.url);
    await session.whenConnected();
  });
  afterAll(async () => {
    await session.close();
    await server.stop();
  });

  const directory = async () => {
    const { path } = await session.create(`/${randomUUID()}`, 'container');
    return path;
  };

  it('numbers transactions over all nodes; sequence numbers start again when a directory is new', async () => {
    const path = await directory();
    const first = await session.create(`${path}/n-`, 'ephemeral-sequential');
    await session.delete(first.path);
    await until('the empty container to be removed', () =>
      session.stat(path).then(
        () => false,
        () => true,
      ),
    );
    await session.create(path, 'container');
    const second = await session.create(`${path}/n-`, 'ephemeral-sequential');
    expect(second.path, 'no fencing token').toBe(first.path);
    expect(second.czxid > first.czxid).toBe(true);
    expect((await session.stat(second.path)).czxid).toBe(second.czxid);
  });

  it('gives sequence numbers in the order of the requests, and shows a session what it wrote', async () => {
    const path = await directory();
    const made = Array.from({ length: 20 }, () =>
      session.create(`${path}/n-`, 'ephemeral-sequential'),
    );
    const seen = session.getChildren(path);
    const names = (await Promise.all(made)).map((it) => it.path.slice(path.length + 1));
    expect(names).toEqual([...names].sort());
    expect([...(await seen)].sort()).toEqual(names);
  });

  it('executes a create whose answer is lost: without a mark in its name, nobody would know whose node it is', async () => {
    const proxy = await TcpProxy.start({ port: server.port });
    const client = rawSession(`127.0.0.1:${proxy.port}`);
    await client.whenConnected();
    const path = await directory();
    const cut = proxy.cutBeforeReplyTo(path);
    const failure = await failureOf(client.create(`${path}/n-`, 'ephemeral-sequential'));
    expect(String(failure)).toContain('ConnectionLoss');
    await cut;
    expect(await session.getChildren(path)).toHaveLength(1);
    await client.close();
    expect(await session.getChildren(path)).toHaveLength(0);
    await proxy.close();
  });

  it('tells a watch what happened while its connection was down', async () => {
    const proxy = await TcpProxy.start({ port: server.port });
    const client = rawSession(`127.0.0.1:${proxy.port}`);
    await client.whenConnected();
    const path = await directory();
    const { path: node } = await session.create(`${path}/n-`, 'ephemeral-sequential');
    const events: string[] = [];
    await client.watch(node, (event) => events.push(event));
    await proxy.refuse();
    await session.delete(node);
    await proxy.pass();
    await until('the event', () => events.length > 0);
    expect(events).toEqual(['deleted']);
    await client.close();
    await proxy.close();
  });

  it('sets no watch on a node that is missing', async () => {
    const events: string[] = [];
    const path = await directory();
    const failure = await failureOf(session.watch(`${path}/missing`, (it) => events.push(it)));
    expect(String(failure)).toContain('NoNode');
    expect(await server.ask('wchp')).not.toContain(`${path}/missing`);
  });

  it('ends a session no earlier than its timeout after the last word that it heard', async () => {
    const proxy = await TcpProxy.start({ port: server.port });
    const client = rawSession(`127.0.0.1:${proxy.port}`, 1_000);
    await client.whenConnected();
    const path = await directory();
    const { path: node } = await client.create(`${path}/n-`, 'ephemeral-sequential');
    const gone = new Promise((resolve) => void session.watch(node, resolve));
    const silentSince = now();
    proxy.blackhole();
    await gone;
    expect(client.validUntil).toBeLessThanOrEqual(now());
    expect(now() - silentSince).toBeGreaterThan(1_000 - 1_000 / 6);
    client.drop();
    await proxy.close();
  });
});

describe.skipIf(!inject('canStartZooKeeper'))('a ZooKeeper follower that is cut off', () => {
  const SESSION_MS = 1_500;
  let ensemble: OwnEnsemble;
  beforeAll(async () => {
    ensemble = await startEnsemble();
  });
  afterAll(() => ensemble.stop());

  /** A new session on a connection of its own, without heartbeats. */
  function connect({ port }: OwnZooKeeper): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const opened: Connection = new Connection(
        { host: '127.0.0.1', port },
        { id: 0n, password: Buffer.alloc(0), timeoutMs: SESSION_MS, lastZxid: 0n },
        { timeoutMs: 5_000, tls: null },
        {
          welcomed: () => resolve(opened),
          changed: () => undefined,
          answered: () => undefined,
          refused: () => undefined,
          closed: (reason) => reject(new Error(reason)),
        },
      );
    });
  }

  it('answers reads of a session that the leader has ended, but no sync: only the latter proves that it lives', async () => {
    const cutOff = (await ensemble.followers())[0]!;
    const others = ensemble.servers.filter((it) => it !== cutOff).map((it) => it.url);
    const witness = rawSession(others.join(','));
    await witness.whenConnected();

    const [connection, other] = [await connect(cutOff), await connect(cutOff)];
    const acl = [{ permissions: 31, scheme: 'world', id: 'anyone' }];
    const node = await connection.send(
      operations.createNode('/held-', 'ephemeral-sequential', Buffer.alloc(0), acl),
    );
    await until('the others to see it', () =>
      witness.stat(node.path).then(
        () => true,
        () => false,
      ),
    );
    let ended = false;
    await witness.watch(node.path, () => (ended = true));

    ensemble.partition(cutOff);
    let synced = false;
    // On another connection: requests of one session wait for each other.
    other.send(operations.sync()).then(
      () => (synced = true),
      () => undefined,
    );
    let readAt = 0;
    await until('the leader to end the session', async () => {
      const sentAt = now();
      await connection.send(operations.statNode('/'));
      readAt = sentAt;
      return ended;
    });
    // Who counts any answer as a sign of life would go on believing for the whole of another timeout.
    expect(readAt + SESSION_MS).toBeGreaterThan(now() + SESSION_MS / 2);
    expect(synced).toBe(false);
    for (const it of [connection, other]) it.close('done');
    await ensemble.heal(cutOff);
    await witness.close();
  });
});
