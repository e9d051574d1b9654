import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { WorkerPool } from '../../src/example/demo/worker-pool.js';
import type { WorkerEvent } from '../../src/example/demo/worker-messages.js';
import type { WorkerProcess } from '../../src/example/demo/worker-process.js';
import { ensureBuilt } from './build.js';
import { until } from './until.js';

export type { WorkerEvent, WorkerPool, WorkerProcess };

export interface StartWorkers {
  /** Name of a file in `test/support/workers`, or a path. It runs as plain JavaScript, against `dist`. */
  readonly script: string;
  readonly count: number;
  /** Environment of all workers; `WORKER` is set to the index. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Starts worker processes, after building `dist` if a source is newer. Resolves when all have reported ready.
 *
 * None outlives the run, frozen ones included, even if the run is killed.
 */
export async function startWorkers({ script, count, env }: StartWorkers): Promise<WorkerPool> {
  await ensureBuilt();
  const path = script.includes('/')
    ? script
    : fileURLToPath(new URL(`workers/${script}`, import.meta.url));
  const pool = await WorkerPool.start(
    Array.from({ length: count }, (_, index) => ({
      script: path,
      name: `${script}#${index}`,
      env: { ...env, WORKER: String(index) },
    })),
  );
  for (const worker of pool.workers) reap(worker);
  return pool;
}

/** Polls for an event of a worker, past ones included. */
export async function eventOf(
  worker: WorkerProcess,
  matches: string | ((event: WorkerEvent) => boolean),
  deadlineMs = 10_000,
): Promise<WorkerEvent> {
  const test = typeof matches === 'string' ? (it: WorkerEvent) => it.name === matches : matches;
  const what = typeof matches === 'string' ? `"${matches}"` : 'an event';
  await until(`${what} of ${worker.name}`, () => worker.events.some(test), { deadlineMs });
  return worker.events.find(test) as WorkerEvent;
}

let reaper: ChildProcess | undefined;

/** A frozen process cannot notice that the run has ended: `reaper.mjs` kills it then. */
function reap(worker: WorkerProcess): void {
  reaper ??= startReaper();
  const { stdin } = reaper;
  stdin?.write(`+${worker.pid}\n`);
  void worker.exited.then(() => stdin?.write(`-${worker.pid}\n`));
}

function startReaper(): ChildProcess {
  const script = fileURLToPath(new URL('reaper.mjs', import.meta.url));
  const child = spawn(process.execPath, [script], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  return child;
}
