import { afterEach, describe, expect, it } from 'vitest';
import { type WorkerPool, eventOf, startWorkers } from './processes.js';

interface Echo {
  readonly payload: unknown;
  readonly worker: string;
  readonly at: number;
}

describe('worker processes', () => {
  let pool: WorkerPool | undefined;
  afterEach(() => pool?.kill());

  it('start together: all begin within a few milliseconds of each other', async () => {
    pool = await startWorkers({ script: 'echo.mjs', count: 2 });
    const calls = [0, 1].map((worker) => ({ worker, command: 'echo', payload: 7n }));
    const rounds = [];
    for (let round = 0; round < 10; round++) {
      const results = await pool.together<Echo>(calls);
      const values = results.map((it) => (it as PromiseFulfilledResult<Echo>).value);
      expect(values.map((it) => it.worker)).toEqual(['0', '1']);
      expect(values[0]?.payload).toBe(7n);
      rounds.push(Math.abs((values[0]?.at ?? 0) - (values[1]?.at ?? 0)));
    }
    const median = rounds.toSorted((a, b) => a - b)[5];
    expect(median).toBeLessThan(10);
  });

  it('carry errors with their code, and events', async () => {
    pool = await startWorkers({ script: 'echo.mjs', count: 1 });
    const worker = pool.worker(0);
    await expect(worker.call('fail', 'no')).rejects.toMatchObject({ message: 'no', code: 'ECHO' });
    await expect(worker.call('nothing')).rejects.toThrow('no command "nothing"');
    await worker.call('report', 'acquired');
    expect(await eventOf(worker, 'acquired')).toMatchObject({ detail: { worker: '0' } });
  });

  it('fail their open calls when they are killed', async () => {
    pool = await startWorkers({ script: 'echo.mjs', count: 1 });
    const worker = pool.worker(0);
    const open = worker.call('never').catch(String);
    await worker.kill();
    expect(await open).toContain('ended with SIGKILL');
  });

  it('stand still while frozen', async () => {
    pool = await startWorkers({ script: 'echo.mjs', count: 2 });
    const [frozen, running] = pool.workers;
    frozen?.freeze();
    let answered = false;
    const answer = frozen?.call('echo').then(() => (answered = true));
    for (let i = 0; i < 20; i++) await running?.call('echo');
    expect(answered).toBe(false);
    frozen?.thaw();
    await answer;
  });

  it('report why they did not get ready', async () => {
    await expect(startWorkers({ script: '/nonexistent/worker.mjs', count: 1 })).rejects.toThrow(
      /ended with 1[^]*Cannot find module/,
    );
  });
});
