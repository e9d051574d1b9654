import mysql from 'mysql2';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/**
 * A URL (`mysql://…`), the options of a `mysql2` connection, or a function that makes a new connection (`createConnection` of `mysql2`,
 * not of `mysql2/promise`) whenever one is needed. The store opens a connection of its own and never borrows one.
 */
export type MysqlConnection =
  string | mysql.ConnectionOptions | (() => mysql.Connection | Promise<mysql.Connection>);

/** @returns a function that makes a connection, which need not be established yet. */
export function connectionFactory(
  connection: MysqlConnection,
  timeoutMs: number,
): () => mysql.Connection | Promise<mysql.Connection> {
  if (typeof connection === 'function') return connection;
  const given: mysql.ConnectionOptions =
    typeof connection === 'string' ? { uri: connection } : connection;
  const own = { connectTimeout: timeoutMs, enableKeepAlive: true, keepAliveInitialDelay: 5_000 };
  return () => mysql.createConnection({ ...given, ...own });
}

/** @throws {LockConfigurationError} for anything that is not a way to reach a MySQL or MariaDB. */
export function checkConnection(value: unknown): MysqlConnection {
  if (typeof value === 'function') return value as () => mysql.Connection;
  if (typeof value === 'string') {
    if (/^(mysql|mariadb):\/\/\S+$/.test(value)) return value;
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    if (!('query' in value)) return value;
    throw new LockConfigurationError(
      'Option "connection" of mysqlStore is a connection or pool; allowed: a URL, the options of a connection, or a function that makes a ' +
        'new connection: the locks need one that nobody else uses.',
    );
  }
  throw new LockConfigurationError(
    `Option "connection" of mysqlStore is ${show(value)}; allowed: 'mysql://user@host:3306/database', ` +
      'the options of a mysql2 connection, or a function that makes a new connection.',
  );
}
