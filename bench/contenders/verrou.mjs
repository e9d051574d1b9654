import { Verrou } from '@verrou/core';
import { redisStore } from '@verrou/core/drivers/redis';
import { Redis } from 'ioredis';
import { bracket } from './bracket.mjs';

/** Does not renew. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  const verrou = new Verrou({
    default: 'redis',
    stores: { redis: { driver: redisStore({ connection: redis }) } },
  });
  const acquire = async (key) => {
    const lock = verrou.createLock(key, leaseMs);
    if (!(await lock.acquire({ retry: { timeout: waitMs } }))) throw new Error('timeout');
    return lock;
  };
  return { locked: bracket(acquire, (lock) => lock.release()), close: () => redis.disconnect() };
}
