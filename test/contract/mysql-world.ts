import { randomUUID } from 'node:crypto';
import mysql from 'mysql2/promise';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  mysqlStore,
  type MysqlStoreOptions,
} from '../../src/distributed-lock/store/mysql/index.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one MariaDB or MySQL database and one namespace of their own, as if each were a process. */
export class MysqlWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly url: string,
    private readonly options: Omit<MysqlStoreOptions, 'connection'> = {},
  ) {}

  /** @param url a way to the same server, such as a proxy. */
  async store(url = this.url, options: Partial<MysqlStoreOptions> = {}): Promise<LockStore> {
    const store = mysqlStore({ connection: url, ...this.options, ...options });
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
  const client = await mysql.createConnection(url);
  try {
    const [rows] = await client.query(sql, values);
    return rows as Row[];
  } finally {
    await client.end();
  }
}
