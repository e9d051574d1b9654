export { redisStore, type RedisStoreOptions } from './redis.lock-store.js';
export type { RedisConnection } from '../redis-client/redis.connection.js';
