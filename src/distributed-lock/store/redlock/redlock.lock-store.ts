import { randomBytes } from 'node:crypto';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { refuseUnknownOptions } from '../../distributed-lock.options.js';
import type { LockStore } from '../lock-store.js';
import { QueueingLockStore, TURN_GRANTS } from '../queueing.lock-store.js';
import { checkConnection, type RedisConnection } from '../redis-client/redis.connection.js';
import { RedlockBackend } from './redlock.backend.js';

/** Options of {@link redlockStore}. Times are milliseconds, or a text such as `'2s'`. */
export interface RedlockStoreOptions {
  /**
   * An odd number of independent Redis servers, each a URL, ioredis options, or an ioredis client. The store opens a connection of its own to each,
   * with the same address, credentials, `db` and `keyPrefix`; a client that is passed in is neither reconfigured nor closed.
   */
  readonly connections: readonly RedisConnection[];
  /** How long one server may take to answer. Default: 5 % of the lease (25 % for a renewal), at least 20 ms and at most 500 ms. */
  readonly nodeTimeout?: Duration;
  /** Longest pause between two looks at a busy key. The pauses start at 5 ms and grow at random. 10 ms or more. Default `'250ms'`. */
  readonly longestPause?: Duration;
  /** Callers of one process served in a row before another waiting process gets its turn: 1 to 1000. Default `32`. */
  readonly turnGrants?: number;
  /** The same as a time. Default `'50ms'`. */
  readonly turnTime?: Duration;
}

const OPTIONS = ['connections', 'nodeTimeout', 'longestPause', 'turnGrants', 'turnTime'] as const;

/**
 * Locks on a majority of independent Redis servers, 5.0 or newer.
 *
 * A grant is a lease, renewed while held, without a fencing token. See `docs/stores/redlock.md` for what it can and cannot survive.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function redlockStore(options: RedlockStoreOptions): LockStore {
  refuseUnknownOptions('redlockStore.', options, OPTIONS);
  const { nodeTimeout } = options;
  const processId = randomBytes(12).toString('base64url');
  const backend = new RedlockBackend(checkConnections(options.connections), processId, {
    nodeTimeoutMs:
      nodeTimeout === undefined ? null : durationMs('redlockStore.nodeTimeout', nodeTimeout, 5),
    longestPauseMs: durationMs('redlockStore.longestPause', options.longestPause ?? 250, 10),
  });
  return new QueueingLockStore(backend, processId, {
    maxGrants: grantsPerTurn(options.turnGrants ?? TURN_GRANTS),
    maxTimeMs: durationMs('redlockStore.turnTime', options.turnTime ?? 50, 0),
  });
}

function checkConnections(value: unknown): readonly RedisConnection[] {
  if (!Array.isArray(value)) {
    throw new LockConfigurationError(
      `Option "connections" of redlockStore is ${show(value)}; allowed: an array of URLs, RedisOptions or ioredis clients.`,
    );
  }
  if (value.length % 2 === 0) {
    throw new LockConfigurationError(
      `Option "connections" of redlockStore has ${value.length} entries; allowed: an odd number. One more server than an odd number must agree, and no more may fail.`,
    );
  }
  return value.map((connection: unknown, index) => {
    const option = `"connections[${index}]" of redlockStore`;
    if ((connection as { isCluster?: unknown } | null)?.isCluster === true) {
      throw new LockConfigurationError(
        `Option ${option} is an ioredis Cluster; allowed: independent servers. Use redisStore for a Cluster.`,
      );
    }
    return checkConnection(option, connection);
  });
}

function grantsPerTurn(value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1_000) return value;
  throw new LockConfigurationError(
    `Option "turnGrants" of redlockStore is ${show(value)}; allowed: a whole number from 1 to 1000.`,
  );
}
