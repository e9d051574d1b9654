import type { ConnectionOptions } from 'node:tls';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import { isNodePath, parseConnectString } from './wire/connect-string.js';
import type { WireAcl } from './wire/operations.js';
import type { SessionSettings } from './wire/session.js';
import type { SessionListener, ZooKeeperSession } from './zookeeper.session.js';

/** Credentials of one scheme: `{ scheme: 'digest', credentials: 'user:password' }`. */
export interface ZooKeeperAuth {
  readonly scheme: string;
  readonly credentials: string;
}

/** Who may do what with the nodes that the store makes. */
export interface ZooKeeperAcl {
  readonly scheme: string;
  readonly id: string;
  /** Of the letters c(reate), r(ead), w(rite), d(elete), a(dmin). The store itself needs `crd`. */
  readonly permissions: string;
}

/** Options of `zookeeperStore`. Times are milliseconds, or a text such as `'10s'`. */
export interface ZooKeeperStoreOptions {
  /** `'zk1:2181,zk2:2181,zk3:2181'`, with an optional chroot at the end: `'zk1:2181,zk2:2181/app'`. The chroot must exist. */
  readonly connectString?: string;
  /** Directory of all locks. Default `'/lock/mutex'`. */
  readonly root?: string;
  /**
   * `true`: a key is the node `<root>/<namespace>/<key>`. `false`: `<root>/<key>`, for sharing locks with services that know no
   * namespace. Default `true`.
   */
  readonly namespaceInPath?: boolean;
  /**
   * Which of Curator's locks the nodes are: `'mutex'` is `InterProcessMutex`, `'read-write'` is `InterProcessReadWriteLock`,
   * `'semaphore-mutex'` is `InterProcessSemaphoreMutex`, at the price of one more write when it is taken and one more when it is released.
   * All services that share a lock must agree. Default `'mutex'`.
   */
  readonly layout?: 'mutex' | 'read-write' | 'semaphore-mutex';
  /** How long a dead process keeps its locks, at least 1 s. The server may choose another time. Default `'10s'`. */
  readonly sessionTimeout?: Duration;
  /** Default: none. */
  readonly auth?: ZooKeeperAuth | readonly ZooKeeperAuth[];
  /** `'world'`: everybody may do everything; `'creator'`: only who has the same `auth`. Default `'world'`. */
  readonly acl?: 'world' | 'creator' | readonly ZooKeeperAcl[];
  /** Connects by TLS: options of Node's `tls.connect`, or `true` for its defaults. Default `false`. */
  readonly tls?: boolean | ConnectionOptions;
  /** Opens sessions with a client of your own, in place of `connectString`, `sessionTimeout`, `auth`, `acl` and `tls`. */
  readonly openSession?: (listener: SessionListener) => ZooKeeperSession;
}

const OF_THE_CLIENT = ['connectString', 'sessionTimeout', 'auth', 'acl', 'tls'] as const;
const OPTIONS = ['root', 'namespaceInPath', 'layout', 'openSession', ...OF_THE_CLIENT] as const;
type Layout = NonNullable<ZooKeeperStoreOptions['layout']>;

const LAYOUTS: readonly Layout[] = ['mutex', 'read-write', 'semaphore-mutex'];
const PERMISSIONS: Readonly<Record<string, number>> = { r: 1, w: 2, c: 4, d: 8, a: 16 };
const EVERYTHING = 31;

/** What is left to decide once the options are checked. */
export interface CheckedOptions {
  readonly root: string;
  readonly namespaceInPath: boolean;
  readonly layout: Layout;
  readonly client:
    ((listener: SessionListener) => ZooKeeperSession) | Omit<SessionSettings, 'label'>;
}

/** @throws {LockConfigurationError} naming the option, the value and what is allowed. */
export function checkOptions(options: ZooKeeperStoreOptions): CheckedOptions {
  refuseUnknownOptions('zookeeperStore.', options, OPTIONS);
  const { root = '/lock/mutex', layout = 'mutex' } = options;
  if (typeof root !== 'string' || !isNodePath(root) || /^\/zookeeper(\/|$)/.test(root)) {
    throw refused('root', root, "an absolute path such as '/lock/mutex', not below /zookeeper");
  }
  if (!LAYOUTS.includes(layout)) throw refused('layout', layout, LAYOUTS.map(show).join(', '));
  return {
    root,
    layout,
    namespaceInPath: booleanOption('zookeeperStore.namespaceInPath', options.namespaceInPath, true),
    client: options.openSession === undefined ? clientOf(options) : givenClient(options),
  };
}

function givenClient(
  options: ZooKeeperStoreOptions,
): (listener: SessionListener) => ZooKeeperSession {
  for (const name of OF_THE_CLIENT) {
    if (options[name] === undefined) continue;
    throw refused(name, options[name], 'nothing beside "openSession", which decides it');
  }
  if (typeof options.openSession === 'function') return options.openSession;
  throw refused('openSession', options.openSession, 'a function');
}

function clientOf(options: ZooKeeperStoreOptions): Omit<SessionSettings, 'label'> {
  const auth = authOf(options.auth);
  return {
    ...parseConnectString(options.connectString),
    timeoutMs: durationMs('zookeeperStore.sessionTimeout', options.sessionTimeout ?? 10_000, 1_000),
    auth,
    acl: aclOf(options.acl ?? 'world', auth.length > 0),
    tls: tlsOf(options.tls ?? false),
  };
}

function authOf(value: ZooKeeperStoreOptions['auth']): SessionSettings['auth'] {
  const list = value === undefined ? [] : Array.isArray(value) ? value : [value];
  return list.map((it: Partial<ZooKeeperAuth> | null) => {
    if (typeof it?.scheme === 'string' && it.scheme !== '' && typeof it.credentials === 'string') {
      return { scheme: it.scheme, credentials: Buffer.from(it.credentials) };
    }
    // Not shown: it may have a password in it.
    throw refused(
      'auth',
      'not such an object',
      "{ scheme: 'digest', credentials: 'user:password' }",
    );
  });
}

function aclOf(value: ZooKeeperStoreOptions['acl'], hasAuth: boolean): readonly WireAcl[] {
  if (value === 'world') return [{ permissions: EVERYTHING, scheme: 'world', id: 'anyone' }];
  if (value === 'creator') {
    if (hasAuth) return [{ permissions: EVERYTHING, scheme: 'auth', id: '' }];
    throw refused('acl', value, '\'creator\' only together with "auth"');
  }
  if (Array.isArray(value) && value.length > 0) return value.map(aclEntry);
  throw refused('acl', value, "'world', 'creator', or a list of { scheme, id, permissions }");
}

function aclEntry(it: Partial<ZooKeeperAcl> | null): WireAcl {
  const { scheme, id, permissions } = it ?? {};
  if (
    typeof scheme === 'string' &&
    typeof id === 'string' &&
    typeof permissions === 'string' &&
    /^[crwda]+$/.test(permissions)
  ) {
    const letters = [...new Set(permissions)];
    return { scheme, id, permissions: letters.reduce((sum, it) => sum + PERMISSIONS[it]!, 0) };
  }
  throw refused(
    'acl',
    it,
    "entries such as { scheme: 'ip', id: '10.0.0.0/8', permissions: 'crd' }",
  );
}

function tlsOf(value: boolean | ConnectionOptions): ConnectionOptions | null {
  if (value === false) return null;
  if (value === true) return {};
  if (typeof value === 'object' && value !== null) return value;
  throw refused('tls', value, "true, false, or options of Node's tls.connect");
}

function refused(option: string, value: unknown, allowed: string): LockConfigurationError {
  const given = value === 'not such an object' ? value : show(value);
  return new LockConfigurationError(
    `Option "${option}" of zookeeperStore is ${given}; allowed: ${allowed}.`,
  );
}
