import { type LockStore, memoryStore } from 'nestjs-distributed-lock';
import { mysqlStore } from 'nestjs-distributed-lock/mysql';
import { postgresStore } from 'nestjs-distributed-lock/postgres';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { redlockStore } from 'nestjs-distributed-lock/redlock';
import { tableStore } from 'nestjs-distributed-lock/table';
import { zookeeperStore } from 'nestjs-distributed-lock/zookeeper';
import type { AppConfig } from './app.config.js';

/** The store that the configuration names. A real application imports the one it uses. */
export function storeOf({ store, storeUrl }: AppConfig): LockStore {
  const url = storeUrl ?? '';
  switch (store) {
    case 'redis':
      return redisStore({ connection: url });
    case 'redlock':
      return redlockStore({ connections: url.split(',') });
    case 'zookeeper':
      return zookeeperStore({ connectString: url });
    case 'postgres':
      return postgresStore({ connection: url });
    case 'mysql':
      return mysqlStore({ connection: url });
    case 'table':
      return tableStore({ dataSource: { type: 'postgres', url } });
    case 'memory':
      return memoryStore();
  }
}
