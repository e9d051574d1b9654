import { randomBytes } from 'node:crypto';
import type { Cluster } from 'ioredis';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { refuseUnknownOptions } from '../../distributed-lock.options.js';
import { Line } from '../line.js';
import { LineLockStore } from '../line.lock-store.js';
import type { LockStore } from '../lock-store.js';
import { QueueingLockStore, TURN_GRANTS } from '../queueing.lock-store.js';
import { RedisBackend } from './redis.backend.js';
import { checkConnection, type RedisConnection } from '../redis-client/redis.connection.js';
import { LINE } from './redis.inbox.js';
import { isCluster, type LockConnections, lockConnections } from './redis.connections.js';

/** Options of {@link redisStore}. Times are milliseconds, or a text such as `'2s'`. */
export interface RedisStoreOptions {
  /**
   * `'redis://localhost:6379'`, ioredis options (`sentinels` and `name` included), an ioredis client, or an ioredis `Cluster`. The store opens
   * connections of its own, one for commands (in a Cluster: per master) and one for wake-ups, with the same address, credentials, `db` and
   * `keyPrefix`; a client that is passed in is neither reconfigured nor closed.
   */
  readonly connection: RedisConnection | Cluster;
  /**
   * How waiters learn of a release. `'push'`: a message to one waiting process. `'poll'`: they look again, with growing, random pauses
   * of up to 250 ms; for servers that forbid publish/subscribe. Default `'push'`.
   */
  readonly wake?: 'push' | 'poll';
  /** How long a command may take before it counts as failed. Default `'2s'`. */
  readonly commandTimeout?: Duration;
  /** Longest time between two looks at a busy key; what a lost wake-up costs. Default `'5s'`. */
  readonly safetyLook?: Duration;
  /**
   * How many replicas must have a lock before it is granted: 0 to 100. Fewer, and the call fails with `LockStoreUnavailableError`. The replicas have half of
   * `commandTimeout` to confirm. Not for a Cluster. Default `0`.
   */
  readonly waitReplicas?: number;
  /** Callers of one process served in a row before another waiting process gets its turn: 1 to 1000. Default `32`. */
  readonly turnGrants?: number;
  /** The same as a time. Default `'50ms'`. */
  readonly turnTime?: Duration;
}

const OPTIONS = [
  'connection',
  'wake',
  'commandTimeout',
  'safetyLook',
  'waitReplicas',
  'turnGrants',
  'turnTime',
] as const;

/** A process that has waited so long gets the key reserved when it is its turn, so that others cannot overtake it for ever. */
const PATIENCE_MS = 100;
/** How long a key is kept for whoever was called. Where nobody is, the next one must have looked by then. */
const CLAIM_MS = { push: 200, poll: 600 } as const;

/**
 * Locks on one Redis, a Sentinel group, or a Redis Cluster, 5.0 or newer.
 *
 * A grant is a lease on a key, renewed while held; a release wakes exactly one waiting process. See `docs/stores/redis.md`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function redisStore(options: RedisStoreOptions): LockStore {
  refuseUnknownOptions('redisStore.', options, OPTIONS);
  const wake = options.wake ?? 'push';
  if (wake !== 'push' && wake !== 'poll') {
    throw new LockConfigurationError(
      `Option "wake" of redisStore is ${show(wake)}; allowed: 'push', 'poll'.`,
    );
  }
  const commandTimeoutMs = durationMs(
    'redisStore.commandTimeout',
    options.commandTimeout ?? 2_000,
    10,
  );
  const { connection } = options;
  if (!isCluster(connection)) checkConnection('"connection" of redisStore', connection);
  const waitReplicas = replicas(options.waitReplicas ?? 0, isCluster(connection));
  const needs = { inbox: wake === 'push', ownRenewals: waitReplicas > 0 };
  const connect = (): LockConnections => lockConnections(connection, needs);
  const processId = randomBytes(12).toString('base64url');
  const timing = {
    commandTimeoutMs,
    safetyLookMs: durationMs('redisStore.safetyLook', options.safetyLook ?? 5_000, 10),
    patienceMs: PATIENCE_MS,
    claimMs: CLAIM_MS[wake],
  };
  const inbox = wake === 'push' ? processId : '';
  const backend = new RedisBackend(connect, inbox, timing, waitReplicas);
  const turns = new QueueingLockStore(backend, processId, {
    maxGrants: grantsPerTurn(options.turnGrants ?? TURN_GRANTS),
    maxTimeMs: durationMs('redisStore.turnTime', options.turnTime ?? 50, 0),
  });
  return new LineLockStore(turns, new Line(backend.line, turns.traits, `${processId}${LINE}`));
}

function grantsPerTurn(value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1_000) return value;
  throw new LockConfigurationError(
    `Option "turnGrants" of redisStore is ${show(value)}; allowed: a whole number from 1 to 1000.`,
  );
}

function replicas(value: number, cluster: boolean): number {
  if (cluster && value !== 0) {
    throw new LockConfigurationError(
      `Option "waitReplicas" of redisStore is ${show(value)}; allowed with a Cluster: 0. ioredis sends WAIT to any of its nodes.`,
    );
  }
  if (Number.isInteger(value) && value >= 0 && value <= 100) return value;
  throw new LockConfigurationError(
    `Option "waitReplicas" of redisStore is ${show(value)}; allowed: a whole number from 0 to 100.`,
  );
}
