import { monotonicMs } from './monotonic.js';
import { type WorkerOptions, WorkerProcess } from './worker-process.js';

/** How far ahead a common start is set, so that every worker has got the message by then. */
const LEAD_MS = 8;

/** Worker processes of the operating system, each with an event loop, connections and memory of its own. */
export class WorkerPool {
  private constructor(readonly workers: readonly WorkerProcess[]) {}

  /** Starts one process per entry. Resolves when all are ready; if one fails, the others are killed. */
  static async start(workers: readonly WorkerOptions[]): Promise<WorkerPool> {
    const pool = new WorkerPool(workers.map((it) => new WorkerProcess(it)));
    try {
      await Promise.all(pool.workers.map((it) => it.ready));
    } catch (error) {
      await pool.kill();
      throw error;
    }
    return pool;
  }

  worker(index: number): WorkerProcess {
    const found = this.workers[index];
    if (!found)
      throw new RangeError(`There is no worker ${index}; there are ${this.workers.length}.`);
    return found;
  }

  /**
   * The starting gun: every named worker begins its command at the same moment.
   *
   * @returns one settled result per call, in the order of the calls.
   */
  together<T>(
    calls: readonly {
      readonly worker: number;
      readonly command: string;
      readonly payload?: unknown;
    }[],
  ): Promise<PromiseSettledResult<T>[]> {
    const startAt = monotonicMs() + LEAD_MS;
    return Promise.allSettled(
      calls.map(({ worker, command, payload }) =>
        this.worker(worker).call<T>(command, payload, startAt),
      ),
    );
  }

  /** Lets every worker close its application. Resolves when all processes are gone. */
  async stop(): Promise<void> {
    await Promise.all(this.workers.map((it) => it.stop()));
  }

  async kill(): Promise<void> {
    await Promise.all(this.workers.map((it) => it.kill()));
  }
}
