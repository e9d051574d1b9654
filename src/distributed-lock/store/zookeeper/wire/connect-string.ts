import { show } from '../../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../../distributed-lock.errors.js';

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

export interface ConnectString {
  readonly servers: readonly ServerAddress[];
  /** In front of every path; `''` for none. */
  readonly chroot: string;
}

const DEFAULT_PORT = 2181;
const SERVER = /^(?:\[([0-9a-f:.]+)\]|([^\s:/[\],@]+))(?::(\d{1,5}))?$/i;

/**
 * @param value `'zk1:2181,zk2:2181,[::1]:2181/chroot'`, as ZooKeeper's own clients have it.
 * @throws {LockConfigurationError} for anything else.
 */
export function parseConnectString(value: unknown): ConnectString {
  const [, list = '', chroot = ''] =
    typeof value === 'string' ? (/^([^/]*)(\/.*)?$/.exec(value) ?? []) : [];
  const servers = list.split(',').map(parseServer);
  if (servers.every((server) => server !== null) && isChroot(chroot)) {
    return { servers, chroot: chroot === '/' ? '' : chroot };
  }
  throw new LockConfigurationError(
    `Option "connectString" of zookeeperStore is ${show(value)}; allowed: 'host:port,host:port/chroot', without a scheme; the port and the chroot may be left out.`,
  );
}

function parseServer(text: string): ServerAddress | null {
  const match = SERVER.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : null;
}

function isChroot(text: string): boolean {
  return text === '' || text === '/' || isNodePath(text);
}

/** Control characters, halves of surrogate pairs, private use and specials, as ZooKeeper's `PathUtils` has them. */
const isForbidden = /\p{Cc}|[\ud800-\uf8ff\ufff0-\uffff]|[\u{10000}-\u{10ffff}]/u;

/** Whether this is the absolute path of a node, as ZooKeeper allows it. */
export function isNodePath(text: string): boolean {
  const names = text.split('/');
  return (
    names.length > 1 &&
    names[0] === '' &&
    names.slice(1).every((name) => name !== '' && name !== '.' && name !== '..') &&
    !isForbidden.test(text)
  );
}
