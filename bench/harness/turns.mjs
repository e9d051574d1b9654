/** Turns of contenders: processes that wait for theirs, rounds in changing order, what each turn cost. */
import { fileURLToPath } from 'node:url';
import { WorkerPool } from '../../dist/example/demo/worker-pool.js';

const WORKER = fileURLToPath(new URL('worker.mjs', import.meta.url));
/** Until what the last turn left behind, such as garbage, is quiet. */
const PAUSE_MS = 10;
/** How far ahead `WorkerPool.together` sets the common start. */
const LEAD_MS = 8;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How long each contender runs before it is measured, in milliseconds, so that its code is compiled for good: servers run for days. */
const WARM_UP_MS = 3_000;

/** The contenders on stage. Variants in a row that ask for the same processes share them. */
export class Stage {
  #url;
  #wanted = '';
  #cast = { pools: new Map(), skipped: {} };

  constructor(url) {
    this.#url = url;
  }

  /** @returns `{ pools, skipped }`: processes by contender, warm, and why the others cannot take part. */
  async contenders(names, processes, options) {
    const wanted = JSON.stringify({ names, processes, options });
    if (wanted !== this.#wanted) {
      await this.clear();
      this.#cast = await this.#start(names, processes, options);
      this.#wanted = wanted;
    }
    return this.#cast;
  }

  /** SIGKILL, as some would go on waiting for locks. */
  async clear() {
    await Promise.all([...this.#cast.pools.values()].map((pool) => pool.kill()));
    this.#cast = { pools: new Map(), skipped: {} };
    this.#wanted = '';
  }

  async #start(names, processes, options) {
    const started = await startContenders(names, processes, { url: this.#url, ...options });
    const load = {
      load: 'closed',
      rampMs: 0,
      name: 'warm-up',
      callers: 16,
      keys: 'own',
      workMs: 0,
      ms: WARM_UP_MS,
    };
    for (const pool of started.pools.values()) {
      await pool.together(
        pool.workers.map((_, worker) => ({ worker, command: 'run', payload: load })),
      );
    }
    return started;
  }
}

/** Starts the processes of each contender. @returns as {@link Stage.contenders}, not warm. */
export async function startContenders(names, processes, options) {
  const pools = new Map();
  const skipped = {};
  for (const name of names) {
    const env = { CONTENDER: name, OPTIONS: JSON.stringify(options), NO_COLOR: '1' };
    const workers = Array.from({ length: processes }, (_, n) => ({
      script: WORKER,
      name: `${name}#${n}`,
      env,
    }));
    try {
      pools.set(name, await WorkerPool.start(workers));
    } catch (error) {
      skipped[name] = reasonOf(error);
    }
  }
  return { pools, skipped };
}

/**
 * One turn of a contender, in all its processes at once.
 *
 * @param calls what each process does, by position; the window of the first, `rampMs` and `ms`, is the one in which the server's work
 *   counts. Without one it counts from the start until all are done.
 */
export async function takeTurn(pool, calls, watch) {
  await sleep(PAUSE_MS);
  const { rampMs, ms } = calls[0];
  const start = () =>
    pool.together(calls.map((payload, worker) => ({ worker, command: 'run', payload })));
  let ended = Promise.resolve([]);
  const server = await watch.during(async (begin) => {
    if (ms === undefined) {
      await begin();
      await (ended = start());
      return;
    }
    ended = start();
    await sleep(LEAD_MS + (rampMs ?? 0));
    await begin();
    await sleep(ms);
  }, ms);
  const results = (await ended).map((it) => {
    if (it.status === 'rejected') throw it.reason;
    return it.value;
  });
  return { results, server };
}

/** The names in the order of a round: each round begins with another one. */
export function orderOf(names, round) {
  const from = round % names.length;
  return [...names.slice(from), ...names.slice(0, from)];
}

function reasonOf(error) {
  const said = String(error?.message ?? error);
  return (said.match(/\w*Error: .*/)?.[0] ?? said.split('\n')[0]).slice(0, 200);
}
