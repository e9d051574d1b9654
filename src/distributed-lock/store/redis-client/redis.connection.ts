import { Redis, type RedisOptions } from 'ioredis';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/** A URL (`redis://…`, `rediss://…`), ioredis options, or a client. A client is duplicated, never reconfigured or closed. */
export type RedisConnection = string | RedisOptions | Redis;

const LONGEST_RECONNECT_MS = 1_000;

/**
 * What a lock needs of its connection, whatever the application's own client does:
 *
 * - a command whose connection is lost fails at once (`maxRetriesPerRequest: 0`); with any other setting it is sent again, or
 *   waits, seconds after its caller has given up
 * - nothing queues while disconnected (`enableOfflineQueue: false`), for the same reason
 * - a demoted master is left (`reconnectOnError` on READONLY); it would answer READONLY for ever on a live socket
 * - no `socketTimeout`: see `redis.silence.ts`
 */
export const LOCK_OPTIONS = {
  keyPrefix: '',
  lazyConnect: true,
  enableOfflineQueue: false,
  enableAutoPipelining: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  keepAlive: 5_000,
  socketTimeout: undefined,
  retryStrategy: reconnectPause,
  reconnectOnError: (error) => error.message.startsWith('READONLY'),
  // ioredis takes `undefined` for "not set"; its types do not say so.
} satisfies { [Name in keyof RedisOptions]: RedisOptions[Name] | undefined } as RedisOptions;

/** @returns how long to wait before the next attempt to connect, in milliseconds. */
export function reconnectPause(attempt: number): number {
  return Math.min(25 * 2 ** Math.min(attempt, 10), LONGEST_RECONNECT_MS);
}

/** A connection of the store's own. Opens nothing yet. @param role shown by `CLIENT LIST`. */
export function ownConnection(connection: RedisConnection, role: string): Redis {
  const options: RedisOptions = { ...LOCK_OPTIONS, connectionName: `distributed-lock:${role}` };
  if (typeof connection === 'string') return new Redis(connection, options);
  if (isClient(connection)) return connection.duplicate(options);
  return new Redis({ ...connection, ...options });
}

/** The client's `keyPrefix`: ioredis adds it neither to channels nor to script arguments, so a store does it itself. */
export function keyPrefixOf(connection: RedisConnection): string {
  if (typeof connection === 'string') return '';
  const { keyPrefix } = isClient(connection) ? connection.options : connection;
  return keyPrefix ?? '';
}

/** By shape, not by class: an application may have another copy of ioredis. */
function isClient(connection: RedisOptions | Redis): connection is Redis {
  return (
    typeof (connection as Redis).duplicate === 'function' &&
    typeof (connection as Redis).options === 'object'
  );
}

/**
 * @param option as it is named in the message: `"connection" of redisStore`.
 * @throws {LockConfigurationError} for anything that is not a way to reach a Redis that can be written to.
 */
export function checkConnection(option: string, value: unknown): RedisConnection {
  if (typeof value === 'string') {
    if (/^rediss?:\/\/\S+$/.test(value)) return value;
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { role } = isClient(value) ? value.options : (value as RedisOptions);
    if (role !== 'slave') return value;
    throw new LockConfigurationError(
      `Option ${option} has role: 'slave', a replica, which cannot be written to; allowed: role: 'master', the default.`,
    );
  }
  throw new LockConfigurationError(
    `Option ${option} is ${show(value)}; allowed: 'redis://host:port/db', 'rediss://…', RedisOptions, or an ioredis client.`,
  );
}
