import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, inject } from 'vitest';
import { tableStore } from '../../src/distributed-lock/store/table/index.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { describeLockStore } from './lock-store.contract.js';
import { TableWorld } from './table-world.js';

const postgres = inject('databaseUrl');
const mariadb = inject('mysqlUrl');
const { traits } = tableStore({ dataSource: { type: 'postgres' } });

describe.skipIf(postgres === null)('table on PostgreSQL', () => {
  let database: OwnDatabase;
  beforeAll(async () => {
    database = await createDatabase(postgres!, 'table_contract');
  });
  afterAll(() => database.drop());

  const open = async () => new TableWorld({ type: 'postgres', url: database.url });
  describeLockStore('table on PostgreSQL', open, traits);
});

describe.skipIf(mariadb === null)('table on MariaDB', () => {
  for (const type of ['mariadb', 'mysql'] as const) {
    const open = async () => new TableWorld({ type, url: mariadb! });
    describeLockStore(`table on MariaDB, type '${type}'`, open, traits);
  }
});

describe('table on SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lock-table-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const database = join(folder, 'locks.sqlite');
  const open = async () => new TableWorld({ type: 'better-sqlite3', database });
  describeLockStore('table on SQLite', open, traits);
});
