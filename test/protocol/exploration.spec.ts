import { describe, expect, it, vi } from 'vitest';
import { grantsBeforeTheFarOne } from './model/distances.js';
import { explore, type Fault, type Plan } from './model/exploration.js';
import type { Rules } from './model/model-server.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('./model/virtual-time.js');
  return { now: clock.now };
});

/** More of them for a long night: `SEEDS=100`. */
const times = Number(process.env['SEEDS'] ?? 1);

/** The first seed of `count` that violates something, with what. */
async function search(count: number, plan: Omit<Plan, 'seed'>): Promise<string | null> {
  for (let seed = 1; seed <= count * times; seed += 1) {
    const [violation] = await explore({ ...plan, seed });
    if (violation !== undefined) return `seed ${seed}: ${violation}`;
  }
  return null;
}

describe('in every order of events that was tried, with', () => {
  const all: Fault[] = [
    'cut',
    'late-copy',
    'inbox',
    'stale',
    'slow',
    'flush',
    'crash',
    'abandon',
    'close',
  ];

  it.each<[string, readonly Fault[], number, Partial<Rules>?]>([
    ['delays, time-outs, aborts and tries', [], 600],
    ['crashed processes', ['crash'], 300],
    ['broken command connections', ['cut'], 300],
    ['late copies of old commands', ['late-copy'], 300],
    ['broken inboxes', ['inbox'], 200],
    ['stale wake-ups', ['stale'], 300],
    ['a slow server', ['slow'], 300],
    ['lost data', ['flush'], 300],
    ['abandoned grants', ['abandon'], 200],
    ['orderly shutdowns', ['close'], 300],
    ['everything at once', all, 500],
    ['everything at once, where no turns are offered', all, 300, { offers: false }],
  ])(
    '%s, no promise is broken',
    async (_name, faults, seeds, rules = {}) => {
      expect(await search(seeds, { faults, rules })).toBeNull();
    },
    20_000 * times,
  );
});

describe('control: the same runs break a promise when', () => {
  it.each<[string, Partial<Rules>, readonly Fault[], RegExp]>([
    ['a give-back wakes nobody', { wakes: false }, [], /L2/],
    ['a give-back that finds no key wakes nobody', { goneWakes: false, offers: false }, [], /L2/],
    ['anybody can give a key back', { checksOwner: false }, [], /S1|S6/],
    ['a repeated take shortens the lease', { neverShortens: false }, ['late-copy'], /S1|S6/],
    ['a renewal compares the owner only', { renewsExactly: false }, ['late-copy', 'flush'], /S5/],
    ['a pass frees the key before anybody is reached', { popsFirst: false }, ['crash'], /L2/],
    ['dead processes are woken', { skipsDead: false, offers: false }, ['crash'], /L2/],
    ['tokens come from a counter', { tokensOutliveData: false }, ['flush'], /S2/],
    ['a repeated take is busy', { repeatable: false }, ['slow', 'cut'], /S\d/],
    ['nobody is told which turns had begun', { tellsLatest: false }, ['stale'], /S\d/],
    ['who leaves is not told of its offer', { tellsLeaving: false }, ['close'], /S3'/],
    ['any command of its process ends an offer', { replaces: true }, ['late-copy'], /S\d/],
    ['a turn is kept for less than its offer says', { keepsOffers: false }, [], /S\d/],
  ])('%s', async (_name, rules, faults, violation) => {
    expect(await search(3_000, { rules, faults })).toMatch(violation);
  });
});

describe('a process far away from the server', () => {
  it('has its turn although one next to it asks again and again', async () => {
    expect(await grantsBeforeTheFarOne({ offers: false })).toBeLessThan(100);
  });

  it('has it at once where a wake-up offers the turn', async () => {
    expect(await grantsBeforeTheFarOne({ reserves: false })).toBeLessThan(20);
  });

  it.each<[string, Partial<Rules>]>([
    ['the key is not reserved for it', { reserves: false, offers: false }],
    ['it does not keep its place', { keepsPlaces: false, offers: false }],
  ])('control: never has it if %s', async (_name, rules) => {
    expect(await grantsBeforeTheFarOne(rules)).toBe(Infinity);
  });
});
