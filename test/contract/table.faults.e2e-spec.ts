import { describe, inject } from 'vitest';
import { memoryStore } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { tableStore } from '../../src/distributed-lock/store/table/index.js';
import { describeFaults } from './fault.contract.js';
import {
  memoryFaults,
  mysqlTableFaults,
  postgresTableFaults,
  sqliteTableFaults,
} from './fault-backends.js';

const { traits } = tableStore({ dataSource: { type: 'postgres' } });
const has = ['network', 'server', 'processes', 'operator', 'set-up'] as const;

describe.skipIf(inject('databaseUrl') === null)('faults', () => {
  const start = postgresTableFaults;
  describeFaults('table on PostgreSQL, under faults', { traits, has, start });
});

describe.skipIf(!inject('canStartMariadb'))('faults', () => {
  const start = mysqlTableFaults;
  describeFaults('table on MariaDB, under faults', { traits, has, start });
});

describeFaults('table on SQLite, under faults', {
  traits,
  has: ['processes', 'set-up'],
  start: sqliteTableFaults,
});

describeFaults('memory, in a process', {
  traits: memoryStore().traits,
  has: [],
  start: memoryFaults,
});
