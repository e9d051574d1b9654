import { describe, inject } from 'vitest';
import { mysqlStore } from '../../src/distributed-lock/store/mysql/index.js';
import { describeFaults } from './fault.contract.js';
import { mysqlFaults } from './fault-backends.js';

describe.skipIf(!inject('canStartMariadb'))('faults', () => {
  const { traits } = mysqlStore({ connection: 'mysql://unused' });
  const has = ['network', 'server', 'processes', 'operator', 'collisions', 'set-up'] as const;
  describeFaults('mysql, under faults', { traits, has, start: mysqlFaults });
});
