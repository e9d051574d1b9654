import { Redis, type RedisOptions } from 'ioredis';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { show } from '../../distributed-lock.duration.js';
import { type ScriptConnection, withScripts } from './redis.scripts.js';

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
const LOCK_OPTIONS = {
  keyPrefix: '',
  lazyConnect: true,
  enableOfflineQueue: false,
  enableAutoPipelining: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  keepAlive: 5_000,
  socketTimeout: undefined,
  retryStrategy: (attempt) => Math.min(25 * 2 ** Math.min(attempt, 10), LONGEST_RECONNECT_MS),
  reconnectOnError: (error) => error.message.startsWith('READONLY'),
  // ioredis takes `undefined` for "not set"; its types do not say so.
} satisfies { [Name in keyof RedisOptions]: RedisOptions[Name] | undefined } as RedisOptions;

export interface LockConnections {
  /** For scripts; nothing else is sent on it, so that nothing slow delays a renewal. */
  readonly commands: Redis & ScriptConnection;
  /** For this process's inbox channel; `null` when polling. */
  readonly inbox: Redis | null;
  /** The client's `keyPrefix`: ioredis adds it neither to channels nor to script arguments, so the store does it itself. */
  readonly keyPrefix: string;
}

/** Opens nothing yet. */
export function lockConnections(
  connection: RedisConnection,
  { inbox }: { readonly inbox: boolean },
): LockConnections {
  const make = (role: string): Redis => {
    const options: RedisOptions = { ...LOCK_OPTIONS, connectionName: `distributed-lock:${role}` };
    if (typeof connection === 'string') return new Redis(connection, options);
    if (isClient(connection)) return connection.duplicate(options);
    return new Redis({ ...connection, ...options });
  };
  const keyPrefix = typeof connection === 'string' ? '' : optionsOf(connection).keyPrefix;
  return {
    commands: withScripts(make('commands')),
    inbox: inbox ? make('inbox') : null,
    keyPrefix: keyPrefix ?? '',
  };
}

function optionsOf(connection: RedisOptions | Redis): RedisOptions {
  return isClient(connection) ? connection.options : connection;
}

/** By shape, not by class: an application may have another copy of ioredis. */
function isClient(connection: RedisOptions | Redis): connection is Redis {
  return (
    typeof (connection as Redis).duplicate === 'function' &&
    typeof (connection as Redis).options === 'object'
  );
}

/** @throws {LockConfigurationError} for anything that is not a way to reach a Redis. */
export function checkConnection(value: unknown): RedisConnection {
  if (typeof value === 'string') {
    if (/^rediss?:\/\/\S+$/.test(value)) return value;
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value;
  }
  throw new LockConfigurationError(
    `Option "connection" of redisStore is ${show(value)}; allowed: 'redis://host:port/db', 'rediss://…', RedisOptions, or an ioredis client.`,
  );
}
