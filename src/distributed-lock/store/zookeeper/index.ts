export { zookeeperStore } from './zookeeper.store.js';
export type { ZooKeeperAcl, ZooKeeperAuth, ZooKeeperStoreOptions } from './zookeeper.options.js';
export type {
  CreatedNode,
  NodeKind,
  NodeStat,
  SessionEnd,
  SessionListener,
  WatchEvent,
  WatchListener,
  ZooKeeperSession,
} from './zookeeper.session.js';
export { ZooKeeperError } from './zookeeper.errors.js';
