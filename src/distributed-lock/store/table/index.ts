export { tableStore, type TableStoreOptions } from './table.lock-store.js';
export { lockTableEntity, lockTableSql } from './table.schema.js';
export type { LockTableType } from './table.dialect.js';
