import { Redis } from 'ioredis';
import { createLock, IoredisAdapter } from 'redlock-universal';

const RETRY_MS = 100;

/** A lock object per key and call, as documented; `using()` renews. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  const adapter = new IoredisAdapter(redis);
  const retryAttempts = Math.ceil(waitMs / RETRY_MS);
  const locked = (key, section) =>
    createLock({ adapter, key, ttl: leaseMs, retryAttempts, retryDelay: RETRY_MS }).using(section);
  return { locked, close: () => redis.disconnect() };
}
