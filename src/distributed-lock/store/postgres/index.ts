export { postgresStore, type PostgresStoreOptions } from './postgres.lock-store.js';
export type { PostgresConnection } from './postgres.connection.js';
