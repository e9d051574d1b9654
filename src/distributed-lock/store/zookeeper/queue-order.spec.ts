import { describe, expect, it } from 'vitest';
import { inQueueOrder } from './queue-order.js';

const name = (number: string, prefix = 'lock-') =>
  `_c_9f0c2a4e-8a0b-4a53-bd6c-0000000000${number.slice(-2)}-${prefix}${number}`;

const order = (names: readonly string[]) => inQueueOrder(names).map((it) => it.name);

describe('the order of a queue', () => {
  it('is by the number after the last prefix, not by the id in front', () => {
    const [first, second, third] = [name('0000000009'), name('0000000010'), name('0000000101')];
    expect(order([third, first, second])).toEqual([first, second, third]);
  });

  it('leaves other nodes out: directories, probes, names without a full number', () => {
    const others = [
      'locks',
      'leases',
      'probe-0000000003',
      'lock-12',
      '__READ__12',
      'READ0000000001',
    ];
    expect(order([...others, name('0000000002')])).toEqual([name('0000000002')]);
  });

  it('takes names without an id, as other recipes make them', () => {
    expect(order(['lock-0000000002', 'lock-0000000001'])).toEqual([
      'lock-0000000001',
      'lock-0000000002',
    ]);
  });

  it.each([
    ['lock-', false],
    ['shared-lock-', true],
    ['lease-', false],
    ['shared-lease-', true],
    ['__WRIT__', false],
    ['__READ__', true],
  ])(
    'knows places of every recipe, and whether they tolerate each other: %s',
    (prefix, isShared) => {
      const place = name('0000000005', prefix);
      const [before, after] = [name('0000000004'), name('0000000006', '__WRIT__')];
      expect(order([after, place, before])).toEqual([before, place, after]);
      expect(inQueueOrder([place])).toEqual([{ name: place, number: 5, isShared }]);
      expect(inQueueOrder([name('-2147483648', prefix)])).toMatchObject([
        { number: -2_147_483_648, isShared },
      ]);
    },
  );

  it('goes on after the signed counter of the directory has wrapped', () => {
    const [before, last, wrapped, next] = [
      name('2147483646'),
      name('2147483647'),
      name('-2147483648'),
      name('-2147483647'),
    ];
    expect(order([wrapped, next, last, before])).toEqual([before, last, wrapped, next]);
  });

  it('keeps negative numbers first when the queue has left the wrap behind', () => {
    const [first, second] = [name('-0000000001'), name('0000000000')];
    expect(order([second, first])).toEqual([first, second]);
  });
});
