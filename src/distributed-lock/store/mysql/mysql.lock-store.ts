import { randomBytes } from 'node:crypto';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import type { LockStore, StoreTraits } from '../lock-store.js';
import { pollPause } from '../polling.js';
import { QueueingLockStore, TURN_GRANTS } from '../queueing.lock-store.js';
import type { LinkListener } from '../session-link.js';
import { SessionBackend } from '../session.backend.js';
import { checkConnection, connectionFactory, type MysqlConnection } from './mysql.connection.js';
import { mysqlError } from './mysql.errors.js';
import { MysqlLink, type MysqlSettings } from './mysql.link.js';
import { checkTable, DEFAULT_TOKEN_TABLE } from './mysql.token-table.js';

/** Options of {@link mysqlStore}. Times are milliseconds, or a text such as `'2s'`. */
export interface MysqlStoreOptions {
  /** How to reach the primary, with a database. The store opens one connection of its own: for all holds and all waiters of the process. */
  readonly connection: MysqlConnection;
  /** When the server ends a session from which it hears nothing, and so frees its locks. At least 1 s; the server rounds up to seconds. Default `'10s'`. */
  readonly sessionTimeout?: Duration;
  /** Longest pause between two looks at a busy key. The pauses start at 5 ms and grow at random. 10 ms or more. Default `'250ms'`. */
  readonly longestPause?: Duration;
  /** Table of the counters that fencing tokens are drawn from, in the connection's database. Default `'distributed_lock_token'`. */
  readonly table?: string;
  /** Create the table at boot if it is missing; see `mysqlTokenTableSql()`. Default `true`. */
  readonly createTable?: boolean;
  /**
   * What to do about a proxy or pooler (ProxySQL, MaxScale, …). `'refuse'`: does not start behind one. `'session'`: it is known to keep a client
   * on one session. Default `'refuse'`.
   */
  readonly pooler?: 'refuse' | 'session';
  /** Callers of one process served in a row before another waiting process gets its turn: 1 to 1000. Default `32`. */
  readonly turnGrants?: number;
  /** The same as a time. Default `'50ms'`. */
  readonly turnTime?: Duration;
}

const OPTIONS = [
  'connection',
  'sessionTimeout',
  'longestPause',
  'table',
  'createTable',
  'pooler',
  'turnGrants',
  'turnTime',
] as const;

/** Longest pause of the one session that has left its mark, and so goes next. */
const NEXT_PAUSE_MS = 100;

/**
 * Named locks (`GET_LOCK`) of one MySQL or MariaDB.
 *
 * A grant lives as long as the store's connection. See `docs/stores/mysql.md`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function mysqlStore(options: MysqlStoreOptions): LockStore {
  refuseUnknownOptions('mysqlStore.', options, OPTIONS);
  const pooler = options.pooler ?? 'refuse';
  if (pooler !== 'refuse' && pooler !== 'session') {
    throw new LockConfigurationError(
      `Option "pooler" of mysqlStore is ${show(pooler)}; allowed: "refuse", "session".`,
    );
  }
  const sessionTimeoutMs = durationMs(
    'mysqlStore.sessionTimeout',
    options.sessionTimeout ?? 10_000,
    1_000,
  );
  const settings: MysqlSettings = {
    newConnection: connectionFactory(checkConnection(options.connection), sessionTimeoutMs),
    sessionTimeoutMs,
    table: checkTable(options.table ?? DEFAULT_TOKEN_TABLE),
    createTable: booleanOption('mysqlStore.createTable', options.createTable, true),
    sessionPooler: pooler === 'session',
  };
  const longestPauseMs = durationMs('mysqlStore.longestPause', options.longestPause ?? 250, 10);
  const turnGrants = options.turnGrants ?? TURN_GRANTS;
  if (!Number.isInteger(turnGrants) || turnGrants < 1 || turnGrants > 1_000) {
    throw new LockConfigurationError(
      `Option "turnGrants" of mysqlStore is ${show(turnGrants)}; allowed: a whole number from 1 to 1000.`,
    );
  }
  return new QueueingLockStore(
    mysqlBackend(settings, longestPauseMs),
    randomBytes(12).toString('base64url'),
    {
      maxGrants: turnGrants,
      maxTimeMs: durationMs('mysqlStore.turnTime', options.turnTime ?? 50, 0),
    },
  );
}

export function mysqlBackend(
  settings: MysqlSettings,
  longestPauseMs: number,
): SessionBackend<MysqlLink> {
  const traits: StoreTraits = {
    name: 'mysql',
    ownership: 'session',
    fencing: 'per-key',
    fair: 'process',
    wakes: 'poll',
    reach: 'server',
    offers: [],
    keeps: 'process',
    showsHolders: 'session',
    forceRelease: 'session',
  };
  const kind = {
    store: 'mysql',
    timeoutMs: settings.sessionTimeoutMs,
    newLink: (namespace: string, listener: LinkListener) =>
      new MysqlLink(namespace, settings, listener),
    toError: mysqlError,
  };
  const nextPauseMs = Math.min(NEXT_PAUSE_MS, longestPauseMs);
  return new SessionBackend(traits, kind, {
    busy: (marked, attempt) =>
      marked ? pollPause(attempt, 1.3, nextPauseMs) : pollPause(attempt, 1.6, longestPauseMs),
    // Longer than the longest pause of the one that goes next.
    passed: () => nextPauseMs + Math.random() * 20,
  });
}
