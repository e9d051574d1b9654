import { setImmediate as immediate, setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { settlesWithin } from './until.js';

/** As a command of the stores does that is not answered: its timer first reads what has arrived, then fails it. */
async function givenUpAfter(ms: number): Promise<never> {
  await delay(ms);
  await immediate();
  throw new Error('given up');
}

/** What a busy machine does to a process. */
function standStill(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('settlesWithin', () => {
  it.each([0, 20, 90])(
    'is true of what is given up in time, also where the process stands still after %d ms',
    async (ms) => {
      const startedAt = performance.now();
      const answer = settlesWithin(100, givenUpAfter(50));
      await delay(ms);
      standStill(250);
      expect(await answer).toBe(true);
      expect(performance.now() - startedAt, 'control: the wall clock would say no').toBeGreaterThan(
        100,
      );
    },
  );

  it('is false of what is given up later, or never', async () => {
    expect(await settlesWithin(50, givenUpAfter(150))).toBe(false);
    expect(await settlesWithin(50, new Promise(() => undefined))).toBe(false);
  });
});
