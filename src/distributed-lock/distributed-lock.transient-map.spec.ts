import { describe, expect, it } from 'vitest';
import { TransientMap } from './distributed-lock.transient-map.js';

describe('TransientMap', () => {
  it('is a map, in the order of insertion, through as many changes as it has entries and more', () => {
    const map = new TransientMap<number, string>();
    const model = new Map<number, string>();
    for (let n = 0; n < 5_000; n += 1) {
      const key = (n * 7) % 1_201;
      map.set(key, `v${n}`);
      model.set(key, `v${n}`);
      const gone = (n * 11) % 1_201;
      expect(map.delete(gone)).toBe(model.delete(gone));
      expect(map.size).toBe(model.size);
    }
    expect(map.size, 'control: there is something to compare').toBeGreaterThan(50);
    expect([...map]).toEqual([...model]);
    expect([...map.keys()]).toEqual([...model.keys()]);
    expect([...map.values()]).toEqual([...model.values()]);
    for (let key = 0; key < 1_201; key += 1) {
      expect([map.get(key), map.has(key)]).toEqual([model.get(key), model.has(key)]);
    }
    map.clear();
    expect([map.size, [...map]]).toEqual([0, []]);
  });

  it('may be changed by whoever walks over it: nothing that stays is left out', () => {
    const map = new TransientMap<number, number>();
    for (let n = 0; n < 2_000; n += 1) map.set(n, n);
    const visited: number[] = [];
    for (const n of map.keys()) {
      visited.push(n);
      map.delete(n);
      map.delete(1_999 - n);
    }
    expect(new Set(visited.filter((n) => n < 1_000)).size).toBe(1_000);
    expect(map.size).toBe(0);
  });
});
