import { Client } from 'pg';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  postgresStore,
  type PostgresStoreOptions,
} from '../../src/distributed-lock/store/postgres/index.js';
import { UrlWorld } from './url-world.js';

export class PostgresWorld extends UrlWorld<Omit<PostgresStoreOptions, 'connection'>> {
  protected make(url: string, options: Partial<PostgresStoreOptions>): LockStore {
    return postgresStore({ connection: url, ...options });
  }
}

/** Looks at a server from outside, on a connection of its own. */
export async function ask<Row>(url: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql, values)).rows as Row[];
  } finally {
    await client.end();
  }
}

/** Session advisory locks that are held in the database of the URL. */
export async function advisoryLocks(url: string): Promise<number> {
  const [row] = await ask<{ count: number }>(
    url,
    `SELECT count(*)::int AS count FROM pg_locks
     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return row!.count;
}
