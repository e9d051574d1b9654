import { createClient } from 'redis';
import { lock } from 'simple-redis-mutex';
import { bracket } from './bracket.mjs';

/** On node-redis; wakes all waiters through one channel; does not renew. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = await createClient({ url }).connect();
  const acquire = (key) => lock(redis, key, { timeout: leaseMs, failAfter: waitMs });
  return { locked: bracket(acquire, (release) => release()), close: () => redis.destroy() };
}
