import { Redis } from 'ioredis';
import { Mutex } from 'redis-semaphore';
import { bracket } from './bracket.mjs';

/** Renews while held. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  const acquire = async (key) => {
    const mutex = new Mutex(redis, key, { lockTimeout: leaseMs, acquireTimeout: waitMs });
    await mutex.acquire();
    return mutex;
  };
  return { locked: bracket(acquire, (mutex) => mutex.release()), close: () => redis.disconnect() };
}
