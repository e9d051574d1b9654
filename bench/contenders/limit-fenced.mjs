import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { bracket } from './bracket.mjs';

/** A free key is taken with a fencing token: a time of the server's, above the last one that was given. */
const TAKE = `
local now, given = redis.call('TIME'), redis.call('GET', KEYS[2]) or '0'
local token = now[1] .. string.sub('00000', #now[2]) .. now[2]
if token <= given or token <= ARGV[3] then token = string.format('%.0f', math.max(given, ARGV[3]) + 1) end
if not redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2], 'NX') then return '' end
redis.call('SET', KEYS[2], token, 'PX', 86400000)
return token`;

/** A release that first looks whether somebody waits. */
const FREE = `
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then return redis.call('DEL', KEYS[1]) end
return 0`;

/**
 * The least a lock on Redis can be that gives fencing tokens and wakes a waiter: two scripts with nothing but that in them. For keys that nobody else
 * wants; it neither waits nor renews.
 */
export async function open(options) {
  const { acquire, release, close } = await fencedLock(options);
  return { locked: bracket(acquire, release), close };
}

/** Its two commands. */
export async function fencedLock({ url, leaseMs }) {
  const redis = new Redis(url);
  redis.defineCommand('take', { numberOfKeys: 2, lua: TAKE });
  redis.defineCommand('free', { numberOfKeys: 2, lua: FREE });
  await redis.ping();
  const process = randomBytes(12).toString('base64url');
  let acquisitions = 0;
  let seen = '0';

  const acquire = async (key) => {
    acquisitions += 1;
    const owner = `${process}:${acquisitions}`;
    const token = await redis.take(key, 'limit-fenced:fence', owner, leaseMs, seen);
    if (token === '') throw new Error('busy');
    seen = token;
    return { key, value: `${token}:${owner}` };
  };
  const release = ({ key, value }) => redis.free(key, `${key}:waiting`, value);
  return { acquire, release, close: () => redis.disconnect() };
}
