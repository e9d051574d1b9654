/** What one lock costs on the wire and in Redis: bytes and memory of an acquire, a renewal, a release, a waiting process. */
import { setMaxListeners } from 'node:events';
import { Redis } from 'ioredis';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { startRedis } from '../test/support/redis.ts';
import { until } from '../test/support/until.ts';
import { table } from './statistics.mjs';

const LOCKS = 2_000;
const LEASE_MS = 60_000;

export const needs = [];

export async function run(_urls, say) {
  const redis = await startRedis();
  const admin = new Redis(redis.url);
  const [holder, waiter] = [
    redisStore({ connection: redis.url }),
    redisStore({ connection: redis.url }),
  ];
  try {
    await Promise.all([holder, waiter].map((store) => store.open('bench', 5_000)));
    await acquireAll(holder, 'warm-up').then((grants) => releaseAll(holder, grants));
    await admin.flushall();
    const figures = await measure(holder, waiter, admin);
    say(
      table(['one', 'bytes out', 'bytes in', 'server CPU µs', 'memory in Redis'], rowsOf(figures)),
    );
    return { 'one lock': { contenders: { 'ours-store': figures } } };
  } finally {
    await Promise.all([holder.close(), waiter.close()]);
    admin.disconnect();
    await redis.stop();
  }
}

async function measure(holder, waiter, admin) {
  let grants = [];
  const empty = await sample(admin);
  const acquire = await costOf(admin, async () => (grants = await acquireAll(holder, 'order')));
  const renewal = await costOf(admin, () =>
    holder.renew(grants.map((grant) => ({ grant, leaseTimeMs: LEASE_MS }))),
  );
  const given = new AbortController();
  setMaxListeners(0, given.signal);
  const wait = await costOf(admin, async () => {
    for (const { key } of grants) {
      waiter
        .acquire({ key, leaseTimeMs: LEASE_MS, waitTimeMs: LEASE_MS, signal: given.signal })
        .catch(() => undefined);
    }
    await until('all to queue', async () => (await queues(admin)) === LOCKS);
  });
  given.abort();
  await until('all to leave', async () => (await queues(admin)) === 0);
  const release = await costOf(admin, () => releaseAll(holder, grants));
  const left = { memory: perLock(empty, await sample(admin), 'memory') };
  return { acquire, renewal, wait, release, left };
}

const keysOf = (name) =>
  Array.from({ length: LOCKS }, (_, n) => `${name}:${String(n).padStart(6, '0')}`);

const acquireAll = (store, name) =>
  Promise.all(
    keysOf(name).map((key) => store.acquire({ key, leaseTimeMs: LEASE_MS, waitTimeMs: 0 })),
  );

const releaseAll = (store, grants) => Promise.all(grants.map((grant) => store.release(grant)));

/** Keys with a queue of processes: the only sorted sets. */
async function queues(admin) {
  let [cursor, found] = ['0', 0];
  do {
    const [next, keys] = await admin.scan(cursor, 'COUNT', 2_000, 'TYPE', 'zset');
    [cursor, found] = [next, found + keys.length];
  } while (cursor !== '0');
  return found;
}

/** @returns per lock: bytes to and from the server, its CPU in microseconds, and the memory that it takes from then on. */
async function costOf(admin, work) {
  const before = await sample(admin);
  await work();
  const after = await sample(admin);
  const each = (what) => perLock(before, after, what);
  return { out: each('out'), in: each('in'), cpuUs: each('cpuUs'), memory: each('memory') };
}

const perLock = (before, after, what) =>
  Math.round(((after[what] - before[what]) / LOCKS) * 10) / 10;

async function sample(admin) {
  const info = await admin.info('everything');
  const read = (name) => Number(info.match(new RegExp(`^${name}:([\\d.]+)`, 'm'))?.[1]);
  return {
    out: read('total_net_input_bytes'),
    in: read('total_net_output_bytes'),
    cpuUs: (read('used_cpu_user') + read('used_cpu_sys')) * 1e6,
    memory: read('used_memory_dataset'),
  };
}

const rowsOf = (figures) =>
  Object.entries(figures).map(([what, it]) => [
    what,
    ...[it.out, it.in, it.cpuUs, it.memory].map((value) => String(value ?? '–')),
  ]);
