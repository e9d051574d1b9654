/**
 * Who takes part. Each has a file that exports `open({ url, leaseMs, waitMs })`, which resolves with `{ locked(key, section), close() }`.
 *
 * `kind`: `limit` is a bound to measure against, `ours` this library, `peer` another one. `quick` lists the workloads of which it
 * is in the short run. `tags` say what it can do: `hot` queues for a busy key in several processes, `local` only in one, `renews`
 * keeps what it holds, `waits` does nothing but wait. One without tags is in the uncontended runs only.
 */
const CONTENDERS = [
  contender('limit', 'limit-ping', [], ['uncontended']),
  contender('limit', 'raw', ['hot'], ['uncontended', 'hot-key', 'hot-processes', 'idle', 'growth']),
  contender('limit', 'limit-fenced', [], ['uncontended']),
  contender('limit', 'limit-lazy', [], ['uncontended']),
  contender('limit', 'raw-batch', ['renews'], ['uncontended', 'renewal']),
  contender('limit', 'limit-wait', ['waits'], ['idle']),
  contender('limit', 'async-mutex', ['local'], ['hot-key']),
  contender(
    'ours',
    'ours-store',
    ['hot'],
    ['uncontended', 'hot-key', 'hot-processes', 'idle', 'growth'],
  ),
  contender(
    'ours',
    'ours-service',
    ['hot', 'renews'],
    ['uncontended', 'hot-key', 'hot-processes', 'idle', 'renewal'],
  ),
  contender('ours', 'ours-lazy', [], ['uncontended']),
  contender('ours', 'ours-decorator', ['hot', 'renews'], ['uncontended']),
  contender('peer', 'redlock4', ['hot']),
  contender(
    'peer',
    'redlock5',
    ['hot', 'renews'],
    ['uncontended', 'hot-key', 'hot-processes', 'idle'],
  ),
  contender('peer', 'sesamecare-redlock', ['hot', 'renews']),
  contender('peer', 'redlock-universal', ['hot', 'renews']),
  contender(
    'peer',
    'redis-semaphore',
    ['hot', 'renews'],
    ['uncontended', 'hot-processes', 'renewal'],
  ),
  contender('peer', 'murlock', ['hot']),
  contender('peer', 'nestjs-redis-lock', ['hot', 'renews']),
  contender('peer', 'nestjs-redlock-universal', ['hot', 'renews']),
  contender('peer', 'anchan828-nest-redlock', ['hot', 'renews']),
  contender('peer', 'verrou', ['hot'], ['uncontended']),
  contender('peer', 'simple-redis-mutex', ['hot'], ['hot-key', 'idle']),
  contender('peer', 'node-redisson', ['hot', 'renews']),
];

function contender(kind, name, tags, quick = []) {
  return { kind, name, tags, quick };
}

export const contenders = CONTENDERS;

export function contenderNamed(name) {
  const found = CONTENDERS.find((it) => it.name === name);
  if (!found) {
    const allowed = CONTENDERS.map((it) => it.name).join(', ');
    throw new Error(`There is no contender ${name}; allowed: ${allowed}.`);
  }
  return {
    ...found,
    open: async (options) => (await import(`./${name}.mjs`)).open(options),
  };
}
