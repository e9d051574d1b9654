export { redisStore, type RedisStoreOptions } from './redis.lock-store.js';
export type { RedisConnection } from './redis.connections.js';
