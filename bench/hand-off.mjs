/**
 * 200 waiters over 4 processes on one key, on each store: how long the key is idle between two holders, how many requests an acquisition
 * costs, how many connections are open, and what a waiter costs in memory.
 *
 * Requests are counted on the way: a piece of bytes that a store sends is one, so statements that a driver sends together count once.
 */
import { fileURLToPath } from 'node:url';
import { WorkerPool } from '../dist/example/demo/worker-pool.js';
import { CountingProxy } from './counting-proxy.mjs';
import { quantile, table } from './statistics.mjs';

const STORES = ['redis', 'redlock', 'zookeeper', 'postgres', 'mysql', 'table'];
const PROCESSES = 4;
const CALLERS = 50;
/** Callers of one process whose memory is measured while they wait. */
const MEASURED_WAITERS = 200;

export const needs = ['redis', 'redlock', 'zookeeper', 'postgres', 'mariadb'];

export async function run(urls, say) {
  const results = {};
  for (const store of STORES) {
    const url = { mysql: urls.mariadb, table: urls.postgres }[store] ?? urls[store];
    say(`  ${store} …`);
    results[store] = await measure(store, url);
  }
  const ms = (value) => (value === undefined ? '–' : value.toFixed(2));
  say(
    table(
      [
        'store',
        'p50 ms',
        'p99 ms',
        'between processes p50',
        'p99',
        'overlaps',
        'requests per acquisition',
        'connections',
        'bytes per waiter',
      ],
      Object.entries(results).map(([store, it]) => [
        store,
        ms(quantile(it.all, 0.5)),
        ms(quantile(it.all, 0.99)),
        `${ms(quantile(it.across, 0.5))} (n = ${it.across.length})`,
        ms(quantile(it.across, 0.99)),
        String(it.overlaps),
        it.requestsPerAcquisition.toFixed(2),
        String(it.connections),
        it.bytesPerWaiter.toFixed(0),
      ]),
    ),
  );
  return results;
}

/** Requests in a run of their own: a proxy on the way would be part of the hand-off. */
export async function measure(store, url) {
  return { ...(await measureHandOff(store, url)), ...(await measureRequests(store, url)) };
}

async function measureHandOff(store, url) {
  const pool = await start(store, url, PROCESSES);
  try {
    return gaps((await burst(pool)).toSorted((a, b) => a.from - b.from));
  } finally {
    await pool.stop();
  }
}

async function measureRequests(store, url) {
  const { through, counters } = await CountingProxy.inFrontOf(url);
  const sum = (what) => counters.reduce((total, counter) => total + counter[what], 0);
  const pool = await start(store, through, PROCESSES);
  try {
    const before = sum('requests');
    const sections = await burst(pool);
    const requestsPerAcquisition = (sum('requests') - before) / sections.length;
    const connections = sum('mostConnections');
    const bytesPerWaiter = await pool.workers[0].call('weigh', { waiters: MEASURED_WAITERS });
    return { requestsPerAcquisition, connections, bytesPerWaiter };
  } finally {
    await pool.stop();
    await Promise.all(counters.map((counter) => counter.close()));
  }
}

function start(store, url, processes) {
  return WorkerPool.start(
    Array.from({ length: processes }, (_, n) => ({
      script: fileURLToPath(new URL('hand-off.worker.mjs', import.meta.url)),
      name: `${store}#${n}`,
      env: { STORE: store, STORE_URL: url },
    })),
  );
}

async function burst(pool) {
  const calls = pool.workers.map((_, worker) => ({
    worker,
    command: 'burst',
    payload: { callers: CALLERS },
  }));
  return (await pool.together(calls)).flatMap((result, process) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value.map((section) => ({ ...section, process }));
  });
}

function gaps(sections) {
  const pairs = sections.slice(1).map((next, n) => ({
    gap: next.from - sections[n].to,
    across: next.process !== sections[n].process,
  }));
  return {
    all: pairs.map(({ gap }) => gap),
    across: pairs.filter(({ across }) => across).map(({ gap }) => gap),
    overlaps: pairs.filter(({ gap }) => gap < 0).length,
  };
}
