import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { bracket, retrying } from './bracket.mjs';

/** Per key: an owner and a lease; a lease of 0 releases. */
const BATCH = `
local answers = {}
for i = 1, #KEYS do
  local owner, lease = ARGV[2 * i - 1], ARGV[2 * i]
  if lease ~= '0' then
    answers[i] = redis.call('set', KEYS[i], owner, 'PX', lease, 'NX') and 1 or 0
  elseif redis.call('get', KEYS[i]) == owner then
    answers[i] = redis.call('del', KEYS[i])
  else
    answers[i] = 0
  end
end
return answers`;

const RENEW = `
local renewed = 0
for i = 1, #KEYS do
  if redis.call('get', KEYS[i]) == ARGV[i + 1] then
    renewed = renewed + redis.call('pexpire', KEYS[i], ARGV[1])
  end
end
return renewed`;

/** As raw, but everything that is asked for in one turn of the event loop goes in one script call; so do all renewals. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  redis.defineCommand('batch', { lua: BATCH });
  redis.defineCommand('renewAll', { lua: RENEW });
  await redis.ping();
  const process_ = randomBytes(12).toString('base64url');
  const held = new Map();
  let acquisitions = 0;
  let asked = [];

  const flush = async () => {
    const batch = asked;
    asked = [];
    const keys = batch.map(({ key }) => key);
    const args = batch.flatMap(({ owner, lease }) => [owner, lease]);
    const answers = await redis.batch(keys.length, ...keys, ...args);
    for (let n = 0; n < batch.length; n += 1) batch[n].resolve(answers[n] === 1);
  };
  const ask = (key, owner, lease) =>
    new Promise((resolve) => {
      if (asked.length === 0) process.nextTick(flush);
      asked.push({ key, owner, lease, resolve });
    });

  const acquire = (key) =>
    retrying(async () => {
      acquisitions += 1;
      const owner = `${process_}:${acquisitions}`;
      if (!(await ask(key, owner, leaseMs))) return null;
      held.set(key, owner);
      return { key, owner };
    }, waitMs);
  const release = ({ key, owner }) => {
    held.delete(key);
    return ask(key, owner, 0);
  };
  const renewals = setInterval(() => {
    if (held.size > 0) void redis.renewAll(held.size, ...held.keys(), leaseMs, ...held.values());
  }, leaseMs / 3);
  return {
    locked: bracket(acquire, release),
    close: () => {
      clearInterval(renewals);
      redis.disconnect();
    },
  };
}
