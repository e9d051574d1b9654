import mysql from 'mysql2/promise';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  mysqlStore,
  type MysqlStoreOptions,
} from '../../src/distributed-lock/store/mysql/index.js';
import { UrlWorld } from './url-world.js';

export class MysqlWorld extends UrlWorld<Omit<MysqlStoreOptions, 'connection'>> {
  protected make(url: string, options: Partial<MysqlStoreOptions>): LockStore {
    return mysqlStore({ connection: url, ...options });
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
