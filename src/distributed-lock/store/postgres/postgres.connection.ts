import { Client, type ClientConfig } from 'pg';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/**
 * A URL (`postgres://…`), the options of a `pg` Client, or a function that makes a new Client, not yet connected, whenever a
 * connection is needed (for passwords that change, tunnels, …). The store opens a connection of its own and never borrows one.
 */
export type PostgresConnection = string | ClientConfig | (() => Client | Promise<Client>);

/** @returns a function that makes a client, not yet connected. */
export function clientFactory(connection: PostgresConnection): () => Client | Promise<Client> {
  if (typeof connection === 'function') return connection;
  const given: ClientConfig =
    typeof connection === 'string' ? { connectionString: connection } : connection;
  return () =>
    new Client({
      application_name: 'distributed-lock',
      ...given,
      keepAlive: true,
      // An answer that is late is the session's business: it ends when it was not confirmed in time.
      query_timeout: 0,
      statement_timeout: 0,
    });
}

/** @throws {LockConfigurationError} for anything that is not a way to reach a PostgreSQL. */
export function checkConnection(value: unknown): PostgresConnection {
  if (typeof value === 'function') return value as () => Client;
  if (typeof value === 'string') {
    if (/^postgres(ql)?:\/\/\S+$/.test(value)) return value;
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    if (!('query' in value)) return value;
    throw new LockConfigurationError(
      'Option "connection" of postgresStore is a Client or Pool; allowed: a URL, the options of a Client, or a function that makes a new ' +
        'Client: the locks need a connection that nobody else uses.',
    );
  }
  throw new LockConfigurationError(
    `Option "connection" of postgresStore is ${show(value)}; allowed: 'postgres://user@host:5432/database', ` +
      'the options of a pg Client, or a function that makes a new Client.',
  );
}
