import { describe, inject } from 'vitest';
import { mysqlStore } from '../../src/distributed-lock/store/mysql/index.js';
import { describeLockStore } from './lock-store.contract.js';
import { MysqlWorld } from './mysql-world.js';

const url = inject('mysqlUrl');

describe.skipIf(url === null)('mysql', () => {
  const { traits } = mysqlStore({ connection: 'mysql://unused' });
  describeLockStore('mysql', async () => new MysqlWorld(url!), traits);
});
