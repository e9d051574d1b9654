import { Redis } from 'ioredis';
import Redlock from 'redlock4';
import { bracket } from './bracket.mjs';

const RETRY_MS = 200;

export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  const redlock = new Redlock([redis], {
    retryDelay: RETRY_MS,
    retryCount: Math.ceil(waitMs / RETRY_MS),
  });
  const acquire = (key) => redlock.lock(key, leaseMs);
  return { locked: bracket(acquire, (lock) => lock.unlock()), close: () => redis.disconnect() };
}
