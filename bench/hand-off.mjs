/** How long a key is idle between two holders, with 200 waiters over 4 processes, on each store. */
import { fileURLToPath } from 'node:url';
import { WorkerPool } from '../dist/example/demo/worker-pool.js';
import { quantile, table } from './statistics.mjs';

const STORES = ['redis', 'redlock', 'zookeeper', 'postgres', 'mysql', 'table'];
const PROCESSES = 4;
const CALLERS = 50;

export const needs = ['redis', 'redlock', 'zookeeper', 'postgres', 'mariadb'];

export async function run(urls, say) {
  const results = {};
  for (const store of STORES) {
    const pool = await WorkerPool.start(
      Array.from({ length: PROCESSES }, (_, n) => ({
        script: fileURLToPath(new URL('hand-off.worker.mjs', import.meta.url)),
        name: `${store}#${n}`,
        env: { STORE: store, URLS: JSON.stringify(urls) },
      })),
    );
    try {
      const calls = pool.workers.map((_, worker) => ({
        worker,
        command: 'burst',
        payload: { callers: CALLERS },
      }));
      const sections = (await pool.together(calls)).flatMap((result, process) => {
        if (result.status === 'rejected') throw result.reason;
        return result.value.map((section) => ({ ...section, process }));
      });
      results[store] = gaps(sections.toSorted((a, b) => a.from - b.from));
    } finally {
      await pool.stop();
    }
  }
  const ms = (value) => (value === undefined ? '–' : value.toFixed(2));
  say(
    table(
      ['store', 'p50 ms', 'p99 ms', 'between processes p50', 'p99', 'hand-offs', 'overlaps'],
      Object.entries(results).map(([store, { all, across, overlaps }]) => [
        store,
        ms(quantile(all, 0.5)),
        ms(quantile(all, 0.99)),
        ms(quantile(across, 0.5)),
        ms(quantile(across, 0.99)),
        `${all.length} (${across.length} across)`,
        String(overlaps),
      ]),
    ),
  );
  return results;
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
