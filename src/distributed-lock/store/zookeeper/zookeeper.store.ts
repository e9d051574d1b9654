import { hostname } from 'node:os';
import { pid } from 'node:process';
import type { LockStore } from '../lock-store.js';
import { mutexLayout, readWriteLayout, semaphoreMutexLayout } from './lock-layout.js';
import { queueView, semaphoreMutexView } from './lock-view.js';
import { WireSession } from './wire/session.js';
import { ZooKeeperLockStore } from './zookeeper.lock-store.js';
import { checkOptions, type ZooKeeperStoreOptions } from './zookeeper.options.js';

const LAYOUTS = {
  mutex: { layout: mutexLayout, view: queueView },
  'read-write': { layout: readWriteLayout, view: queueView },
  'semaphore-mutex': { layout: semaphoreMutexLayout, view: semaphoreMutexView },
} as const;

/**
 * Locks on a ZooKeeper server or ensemble, 3.5 or newer, in the nodes of Curator's recipes: services in Java and in Node can share them.
 *
 * A grant lives as long as the session of this process; a release wakes exactly the next waiter. See `docs/stores/zookeeper.md`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function zookeeperStore(options: ZooKeeperStoreOptions): LockStore {
  const { root, namespaceInPath, layout, client } = checkOptions(options);
  const label = Buffer.from(`${hostname()} ${pid}`);
  return new ZooKeeperLockStore({
    ...LAYOUTS[layout],
    baseOf: (namespace) => (namespaceInPath ? `${root}/${namespace}` : root),
    openSession: (listener) =>
      typeof client === 'function'
        ? client(listener)
        : new WireSession({ ...client, label }, listener),
  });
}
