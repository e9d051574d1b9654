export { mysqlStore, type MysqlStoreOptions } from './mysql.lock-store.js';
export type { MysqlConnection } from './mysql.connection.js';
export { mysqlTokenTableSql } from './mysql.token-table.js';
