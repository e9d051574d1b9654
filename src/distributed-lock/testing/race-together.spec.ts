import { describe, expect, it } from 'vitest';
import { raceTogether } from './race-together.js';

describe('raceTogether', () => {
  it('starts no call before all of them stand at the barrier, then all in one turn of the event loop', async () => {
    let turn = 0;
    const count = setInterval(() => (turn += 1), 0);
    const { values } = await raceTogether(50, () => turn);
    clearInterval(count);
    expect(new Set(values).size).toBe(1);
  });

  it('starts no call before the barrier is released, and measures from there', async () => {
    let started = 0;
    const race = raceTogether(5, () => (started += 1));
    expect(started).toBe(0);
    const { results, durationMs } = await race;
    expect(started).toBe(5);
    for (const call of results) expect(call.durationMs).toBeLessThanOrEqual(durationMs);
  });

  it('has every call inside before the first one ends: a lost update shows', async () => {
    let stock = 0;
    await raceTogether(20, async () => {
      const read = stock;
      await Promise.resolve();
      stock = read + 1;
    });
    expect(stock).toBe(1);
  });

  it('control: one after the other, no update is lost', async () => {
    let stock = 0;
    for (let call = 0; call < 20; call += 1) {
      await raceTogether(1, async () => {
        const read = stock;
        await Promise.resolve();
        stock = read + 1;
      });
    }
    expect(stock).toBe(20);
  });

  it('collects every end in the order of the calls, also of calls that throw at once', async () => {
    const late = new Error('late');
    const atOnce = new Error('at once');
    const race = await raceTogether<string>([
      () => new Promise((resolve) => setTimeout(() => resolve('slow'), 20)),
      () => Promise.reject(late),
      () => {
        throw atOnce;
      },
      () => 'plain',
    ]);
    expect(race.results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    expect(race.values).toEqual(['slow', 'plain']);
    expect(race.errors).toEqual([late, atOnce]);
    expect(race.results[0]!.durationMs).toBeGreaterThanOrEqual(15);
    expect(race.results[3]!.durationMs).toBeLessThan(race.results[0]!.durationMs);
    expect(race.durationMs).toBeGreaterThanOrEqual(race.results[0]!.durationMs);
  });

  it('tells each call its number', async () => {
    expect((await raceTogether(3, (index) => index)).values).toEqual([0, 1, 2]);
  });

  it.each([0, -1, 1.5, Number.NaN])('refuses a count of %s', async (count) => {
    await expect(raceTogether(count, () => 1)).rejects.toThrow(RangeError);
    await expect(raceTogether([])).rejects.toThrow(RangeError);
  });
});
