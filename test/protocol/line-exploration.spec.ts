import { describe, expect, it, vi } from 'vitest';
import type { Fault } from './model/exploration.js';
import { exploreLine, type LinePlan } from './model/line-exploration.js';
import type { LineRules } from './model/line-server.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('./model/virtual-time.js');
  return { now: clock.now };
});

/** More of them for a long night: `SEEDS=100`. */
const times = Number(process.env['SEEDS'] ?? 1);

/** The first seed of `count` that violates something, with what. */
async function search(count: number, plan: Omit<LinePlan, 'seed'>): Promise<string | null> {
  for (let seed = 1; seed <= count * times; seed += 1) {
    const [violation] = await exploreLine({ ...plan, seed });
    if (violation !== undefined) return `seed ${seed}: ${violation}`;
  }
  return null;
}

describe('in every order of events that was tried, callers in the line, with', () => {
  const all: Fault[] = ['cut', 'late-copy', 'inbox', 'slow', 'flush', 'crash', 'abandon', 'close'];

  it.each<[string, readonly Fault[], number]>([
    ['delays, time-outs, aborts and tries', [], 200],
    ['crashed processes', ['crash'], 100],
    ['broken command connections', ['cut'], 100],
    ['late copies of old commands', ['late-copy'], 100],
    ['broken inboxes', ['inbox'], 100],
    ['a slow server', ['slow'], 100],
    ['lost data', ['flush'], 100],
    ['abandoned grants', ['abandon'], 60],
    ['orderly shutdowns', ['close'], 100],
    ['everything at once', all, 150],
  ])(
    '%s: no promise is broken',
    async (_name, faults, seeds) => {
      expect(await search(seeds, { faults })).toBeNull();
    },
    20_000 * times,
  );
});

describe('control: the same runs break a promise when', () => {
  it.each<[string, Partial<LineRules>, readonly Fault[], RegExp]>([
    ['whoever leaves lets nobody in', { admits: false }, [], /L2/],
    ['a caller enters past those who wait', { queuesUp: false }, [], /O1/],
    ['shared callers enter beside exclusive ones', { keepsKindsApart: false }, [], /S1/],
    ['permits are not counted', { countsPermits: false }, [], /S1/],
    ['whoever was called in need not confirm', { claims: false }, ['crash', 'inbox'], /L1/],
    ['leases that are over still count', { putsOut: false }, ['crash'], /L1/],
    ['anybody ends a hold', { checksOwner: false }, [], /S1|S6/],
    ['a repeated enter shortens a lease', { neverShortens: false }, ['late-copy'], /S1|S6/],
    ['a repeated enter is refused', { repeatable: false }, [], /L1|L2|S3|S1|S2/],
  ])('%s', async (_name, rules, faults, violation) => {
    expect(await search(1_000, { rules, faults })).toMatch(violation);
  });
});
