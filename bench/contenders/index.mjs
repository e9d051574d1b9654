/**
 * Who takes part. Each has a file that exports `open({ url, leaseMs, waitMs })`, which resolves with `{ locked(key, section), close() }`.
 *
 * `kind`: `limit` is a bound to measure against, `ours` this library, `peer` another one. `quick` ones are in the short run.
 * `tags` say what it can do: `hot` queues for a busy key in several processes, `local` only in one, `renews` keeps what it holds.
 */
const CONTENDERS = [
  { name: 'limit-ping', kind: 'limit', quick: true, tags: [] },
  { name: 'raw', kind: 'limit', quick: true, tags: ['hot'] },
  { name: 'raw-batch', kind: 'limit', quick: true, tags: ['hot', 'renews'] },
  { name: 'async-mutex', kind: 'limit', quick: true, tags: ['local'] },
  { name: 'ours-store', kind: 'ours', quick: true, tags: ['hot'] },
  { name: 'ours-service', kind: 'ours', quick: true, tags: ['hot', 'renews'] },
  { name: 'ours-decorator', kind: 'ours', quick: true, tags: ['hot', 'renews'] },
  { name: 'redlock4', kind: 'peer', quick: false, tags: ['hot'] },
  { name: 'redlock5', kind: 'peer', quick: true, tags: ['hot', 'renews'] },
  { name: 'sesamecare-redlock', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
  { name: 'redlock-universal', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
  { name: 'redis-semaphore', kind: 'peer', quick: true, tags: ['hot', 'renews'] },
  { name: 'murlock', kind: 'peer', quick: false, tags: ['hot'] },
  { name: 'nestjs-redis-lock', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
  { name: 'nestjs-redlock-universal', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
  { name: 'anchan828-nest-redlock', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
  { name: 'verrou', kind: 'peer', quick: false, tags: ['hot'] },
  { name: 'simple-redis-mutex', kind: 'peer', quick: true, tags: ['hot'] },
  { name: 'node-redisson', kind: 'peer', quick: false, tags: ['hot', 'renews'] },
];

export const contenders = CONTENDERS;

export function contenderNamed(name) {
  const found = CONTENDERS.find((it) => it.name === name);
  if (!found) {
    const allowed = CONTENDERS.map((it) => it.name).join(', ');
    throw new Error(`There is no contender ${name}; allowed: ${allowed}.`);
  }
  return {
    ...found,
    open: async (options) => (await import(`./${found.file ?? name}.mjs`)).open(options),
  };
}
