export { redlockStore, type RedlockStoreOptions } from './redlock.lock-store.js';
export type { RedisConnection } from '../redis-client/redis.connection.js';
