import { afterAll, beforeAll, describe, inject } from 'vitest';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { describeLockStore } from './lock-store.contract.js';
import { PostgresWorld } from './postgres-world.js';

const server = inject('databaseUrl');

describe.skipIf(server === null)('postgres', () => {
  let database: OwnDatabase;
  beforeAll(async () => {
    database = await createDatabase(server!, 'postgres_contract');
  });
  afterAll(() => database.drop());

  for (const wake of ['push', 'poll'] as const) {
    const { traits } = postgresStore({ connection: 'postgres://unused', wake });
    describeLockStore(
      `postgres, wake: '${wake}'`,
      async () => new PostgresWorld(database.url, { wake }),
      traits,
    );
  }
});
