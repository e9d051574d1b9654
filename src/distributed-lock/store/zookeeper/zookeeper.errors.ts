import {
  DistributedLockError,
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';

/** Codes of the protocol (`org.apache.zookeeper.KeeperException.Code`) by number. */
const CODES: Readonly<Record<number, string>> = {
  [-4]: 'ConnectionLoss',
  [-5]: 'MarshallingError',
  [-6]: 'Unimplemented',
  [-8]: 'BadArguments',
  [-101]: 'NoNode',
  [-102]: 'NoAuth',
  [-108]: 'NoChildrenForEphemerals',
  [-110]: 'NodeExists',
  [-111]: 'NotEmpty',
  [-112]: 'SessionExpired',
  [-114]: 'InvalidACL',
  [-115]: 'AuthFailed',
  [-118]: 'SessionMoved',
  [-120]: 'EphemeralOnLocalSession',
  [-124]: 'SessionClosedRequireSaslAuth',
  [-125]: 'QuotaExceeded',
  [-127]: 'ThrottledOp',
};

/** What went wrong with one operation. */
export class ZooKeeperError extends Error {
  override readonly name = 'ZooKeeperError';

  constructor(
    /** `NoNode`, `ConnectionLoss`, …; `Error -n` for a number that is not known here. */
    readonly code: string,
    /** Such as `create /lock/mutex`. */
    readonly operation: string,
    detail = '',
  ) {
    super(`${operation}: ${code}${detail && ` (${detail})`}`);
  }

  static fromNumber(number: number, operation: string): ZooKeeperError {
    return new ZooKeeperError(CODES[number] ?? `Error ${number}`, operation);
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): error is ZooKeeperError {
  return error instanceof ZooKeeperError && codes.includes(error.code);
}

/** Answers that a retry cannot change, with what to look at. */
const CONFIGURATION: Readonly<Record<string, string>> = {
  NoAuth: 'no permission; check "auth" and "acl" of zookeeperStore, and the ACL of that node',
  InvalidACL: 'the server does not accept "acl" of zookeeperStore; `creator` needs "auth"',
  AuthFailed: 'the server does not accept "auth" of zookeeperStore',
  SessionClosedRequireSaslAuth: 'the server demands SASL, which zookeeperStore does not speak',
  BadArguments: 'the server does not accept the path or the ACL',
  NoChildrenForEphemerals: 'the parent is an ephemeral node; choose another "root"',
  EphemeralOnLocalSession: 'the server gives local sessions, which cannot have ephemeral nodes',
  Unimplemented: 'ZooKeeper 3.5 or newer is needed',
};

/** "Busy" is an answer of the queue; everything else is sorted here: what a retry can mend, and what it cannot. */
export function storeError(error: unknown, key: string | null): DistributedLockError {
  if (error instanceof DistributedLockError) return error;
  const advice = error instanceof ZooKeeperError ? CONFIGURATION[error.code] : undefined;
  const detail = error instanceof Error ? error.message : String(error);
  if (advice === undefined) {
    return new LockStoreUnavailableError('zookeeper', key, detail, { cause: error });
  }
  const where = key === null ? 'ZooKeeper' : `Lock "${key}": ZooKeeper`;
  return new LockConfigurationError(`${where} refuses ${detail}: ${advice}.`, {
    cause: error,
    ...(key !== null && { key }),
  });
}
