import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  postgresStore,
  type PostgresStoreOptions,
} from '../../src/distributed-lock/store/postgres/index.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one PostgreSQL database and one namespace of their own, as if each were a process. */
export class PostgresWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly url: string,
    private readonly options: Omit<PostgresStoreOptions, 'connection'> = {},
  ) {}

  /** @param url a way to the same server, such as a proxy. */
  async store(url = this.url, options: Partial<PostgresStoreOptions> = {}): Promise<LockStore> {
    const store = postgresStore({ connection: url, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
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
