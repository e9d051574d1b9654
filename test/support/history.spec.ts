import { describe, expect, it } from 'vitest';
import { overlaps, sectionsOf } from './history.js';

const section = (worker: string, from: number, to: number, key = 'k') => ({
  worker,
  key,
  from,
  to,
});

describe('the history checker', () => {
  it('accepts sections that follow each other, touch, or are of different keys', () => {
    expect(overlaps([section('a', 0, 5), section('b', 5, 9), section('c', 1, 4, 'other')])).toEqual(
      [],
    );
  });

  it('finds two sections of one key at the same time, in whatever order they are given', () => {
    const [found] = overlaps([section('b', 4, 9), section('a', 0, 5)]);
    expect(found).toMatchObject({
      key: 'k',
      first: { worker: 'a' },
      second: { worker: 'b' },
      forMs: 1,
    });
  });

  it('finds a section inside a long one even when a short one lies between', () => {
    expect(overlaps([section('a', 0, 100), section('b', 1, 2), section('c', 50, 60)])).toHaveLength(
      2,
    );
  });

  it('lets shared sections be together, and finds one that is not beside one that is', () => {
    const shared = (worker: string, from: number, to: number) => ({
      ...section(worker, from, to),
      isShared: true,
    });
    expect(overlaps([shared('a', 0, 9), shared('b', 1, 5), section('c', 9, 10)])).toEqual([]);
    expect(overlaps([shared('a', 0, 9), shared('b', 1, 2), section('c', 5, 10)])).toHaveLength(1);
    expect(overlaps([section('a', 0, 5), shared('b', 1, 9), shared('c', 4, 6)])).toHaveLength(2);
    expect(overlaps([section('a', 0, 5), shared('b', 6, 20), shared('c', 7, 8)])).toEqual([]);
  });

  it('treats a section that never ends as lasting for ever', () => {
    const events = [
      { worker: 'a', key: 'k', name: 'acquired', at: 1 },
      { worker: 'b', key: 'k', name: 'acquired', at: 2 },
      { worker: 'b', key: 'k', name: 'released', at: 3 },
    ];
    expect(sectionsOf(events)).toHaveLength(2);
    expect(overlaps(sectionsOf(events))).toHaveLength(1);
  });
});
