import { test } from 'vitest';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import type { ZooKeeperStoreOptions } from '../../src/distributed-lock/store/zookeeper/index.js';
import { ZooKeeperWorld } from '../contract/zookeeper-world.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import type { OwnZooKeeper } from '../support/zookeeper.js';

export const SESSION_MS = 2_000;
const SHORT = { sessionTimeout: SESSION_MS } as const;

export interface Scene {
  readonly proxy: TcpProxy;
  readonly world: ZooKeeperWorld;
  /** A store that reaches the server by the proxy. */
  readonly behindProxy: (options?: ZooKeeperStoreOptions) => Promise<LockStore>;
}

/** `it` with a namespace and a proxy of each test's own: tests that leave the server alone run beside each other. */
export function sceneOn(server: () => OwnZooKeeper) {
  return test.extend<Scene>({
    // oxlint-disable-next-line no-empty-pattern -- the test runner reads from the pattern what a fixture needs: nothing
    proxy: async ({}, use) => {
      const proxy = await TcpProxy.start({ port: server().port });
      await use(proxy);
      await proxy.close();
    },
    world: async ({ proxy }, use) => {
      const world = new ZooKeeperWorld(server().url, SHORT);
      await use(world);
      await proxy.pass();
      await world.close();
    },
    behindProxy: async ({ proxy, world }, use) => {
      await use((options) => world.store({ connectString: `127.0.0.1:${proxy.port}`, ...options }));
    },
  });
}
