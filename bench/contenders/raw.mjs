import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { bracket, retrying } from './bracket.mjs';

const COMPARE_AND_DELETE = `
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0`;

/** The least a lock on Redis can be: `SET NX PX`, a compare-and-delete script, and a retry every 10 ms. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  redis.defineCommand('compareAndDelete', { numberOfKeys: 1, lua: COMPARE_AND_DELETE });
  await redis.ping();
  const process = randomBytes(12).toString('base64url');
  let acquisitions = 0;

  const acquire = (key) =>
    retrying(async () => {
      acquisitions += 1;
      const owner = `${process}:${acquisitions}`;
      const answer = await redis.set(key, owner, 'PX', leaseMs, 'NX');
      return answer === 'OK' ? { key, owner } : null;
    }, waitMs);
  const release = ({ key, owner }) => redis.compareAndDelete(key, owner);
  return { locked: bracket(acquire, release), close: () => redis.disconnect() };
}
