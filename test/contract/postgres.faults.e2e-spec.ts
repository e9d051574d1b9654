import { describe, inject } from 'vitest';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { describeFaults } from './fault.contract.js';
import { postgresFaults } from './fault-backends.js';

describe.skipIf(inject('databaseUrl') === null)('faults', () => {
  const { traits } = postgresStore({ connection: 'postgres://unused' });
  const has = ['network', 'server', 'processes', 'operator', 'collisions', 'set-up'] as const;
  describeFaults('postgres, under faults', { traits, has, start: postgresFaults });
});
