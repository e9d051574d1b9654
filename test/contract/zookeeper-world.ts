import { randomUUID } from 'node:crypto';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { parseConnectString } from '../../src/distributed-lock/store/zookeeper/wire/connect-string.js';
import { WireSession } from '../../src/distributed-lock/store/zookeeper/wire/session.js';
import {
  type SessionListener,
  zookeeperStore,
  type ZooKeeperStoreOptions,
} from '../../src/distributed-lock/store/zookeeper/index.js';
import { until } from '../support/until.js';
import type { StoreWorld } from './lock-store.contract.js';

const SILENT: SessionListener = { suspended: () => undefined, ended: () => undefined };

/** Of the scheme `digest`: where a test makes private nodes, it makes them for these, so that they can be taken away again. */
export const CREDENTIALS = 'locks:secret';

/** A session of the test's own, to look at nodes and to make them. */
export function rawSession(url: string, timeoutMs = 10_000, listener = SILENT): WireSession {
  const acl = [{ permissions: 31, scheme: 'world', id: 'anyone' }];
  const auth = [{ scheme: 'digest', credentials: Buffer.from(CREDENTIALS) }];
  const label = Buffer.from('test');
  const settings = { ...parseConnectString(url), timeoutMs, auth, acl, tls: null, label };
  return new WireSession(settings, listener);
}

/** Stores on one ZooKeeper and one namespace of their own, as if each were a process. Takes its nodes away at the end. */
export class ZooKeeperWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  readonly directory = `/lock/mutex/${this.namespace}`;
  /** For looking at the server; not a store's. */
  readonly client: WireSession;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly url: string,
    private readonly options: ZooKeeperStoreOptions = {},
  ) {
    this.client = rawSession(url);
  }

  /** @param options such as a way to the same server, by a proxy. */
  async store(options: ZooKeeperStoreOptions = {}): Promise<LockStore> {
    const connect = options.openSession ? {} : { connectString: this.url };
    const store = zookeeperStore({ ...connect, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 10_000);
    return store;
  }

  /** Every node below a directory, with paths relative to it. */
  async nodes(directory = this.directory): Promise<string[]> {
    const names = await this.client.getChildren(directory).catch(() => []);
    const below = await Promise.all(
      names.map(async (name) => {
        const nodes = await this.nodes(`${directory}/${name}`);
        return [name, ...nodes.map((it) => `${name}/${it}`)];
      }),
    );
    return below.flat();
  }

  /** Every node that a lock or its queue is made of, whatever the layout: not one per call, see {@link queued}. */
  async places(): Promise<string[]> {
    return (await this.nodes()).filter((it) => it.includes('_c_'));
  }

  /**
   * Resolves when the one key in use is held and so many calls wait for it, each with all the nodes that it waits with.
   *
   * In the layout `mutex` that is a node for each. In `semaphore-mutex` the holder has a lease, the first waiter a place in `locks` *and*
   * a lease, the others a place: on their way there calls pass through other numbers, in too short a time to be sure to be seen.
   */
  async queued(waiters: number): Promise<void> {
    await until(`${waiters} to wait`, async () => {
      const places = await this.places();
      const leases = places.filter((it) => it.includes('-lease-')).length;
      if (leases === 0) return places.length === 1 + waiters;
      return leases === Math.min(1 + waiters, 2) && places.length === leases + waiters;
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    for (const node of (await this.nodes()).toReversed())
      await this.client.delete(`${this.directory}/${node}`).catch(() => undefined);
    await this.client.delete(this.directory).catch(() => undefined);
    await this.client.close();
  }
}
