import { setTimeout as pause } from 'node:timers/promises';
import type { JobOrder } from './demo.worker.js';
import type { WorkerEvent } from './worker-messages.js';
import type { WorkerPool } from './worker-pool.js';

/** When one of the workers did what, in milliseconds from the start. */
export interface Lane {
  readonly worker: string;
  readonly attempted: number;
  readonly acquired: number | null;
  readonly released: number | null;
  /** Gave up: its wait time was over. */
  readonly failed: number | null;
}

const WORKERS = 10;
const WORK_MS = 100;
/** Long enough for most of the ten, not for all: some must fail. */
const WAIT_TIME_MS = 650;

/** Ten workers, spread over the server processes, all want `job1` at about the same moment. */
export async function runJobs(pool: WorkerPool): Promise<readonly Lane[]> {
  const calls = Array.from({ length: WORKERS }, (_, n) => {
    const order: JobOrder = { name: `worker ${n + 1}`, waitTimeMs: WAIT_TIME_MS, workMs: WORK_MS };
    return { worker: n % pool.workers.length, command: 'job', payload: order };
  });
  for (const result of await pool.together(calls)) {
    if (result.status === 'rejected') throw result.reason;
  }
  // The last reports may still be on their way, behind the answers.
  for (let n = 0; n < 100 && !isComplete(pool); n += 1) await pause(10);
  return lanesOf(eventsOf(pool));
}

function eventsOf(pool: WorkerPool): readonly WorkerEvent[] {
  return pool.workers.flatMap((worker) => worker.events);
}

function isComplete(pool: WorkerPool): boolean {
  return (
    eventsOf(pool).filter((event) => event.name === 'released' || event.name === 'failed').length >=
    WORKERS
  );
}

function lanesOf(events: readonly WorkerEvent[]): readonly Lane[] {
  const start = Math.min(...events.map((event) => event.at));
  const lanes = new Map<string, Map<string, number>>();
  for (const { name, at, detail } of events) {
    const worker = (detail as { name: string }).name;
    const lane = lanes.get(worker) ?? new Map<string, number>();
    lanes.set(worker, lane.set(name, at - start));
  }
  return [...lanes]
    .map(([worker, lane]) => ({
      worker,
      attempted: lane.get('attempted') ?? 0,
      acquired: lane.get('acquired') ?? null,
      released: lane.get('released') ?? null,
      failed: lane.get('failed') ?? null,
    }))
    .toSorted(
      (a, b) => (a.acquired ?? Infinity) - (b.acquired ?? Infinity) || a.attempted - b.attempted,
    );
}

/** Workers that were inside at the same time. */
export function overlapsOf(lanes: readonly Lane[]): number {
  const inside = lanes.filter((lane) => lane.acquired !== null && lane.released !== null);
  return inside.slice(1).filter((lane, n) => lane.acquired! < inside[n]!.released!).length;
}
