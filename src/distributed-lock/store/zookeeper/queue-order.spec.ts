import { describe, expect, it } from 'vitest';
import { inQueueOrder } from './queue-order.js';

const name = (number: string, prefix = 'lock-') =>
  `_c_9f0c2a4e-8a0b-4a53-bd6c-0000000000${number.slice(-2)}-${prefix}${number}`;

describe('the order of a queue', () => {
  it('is by the number after the last prefix, not by the id in front', () => {
    const [first, second, third] = [name('0000000009'), name('0000000010'), name('0000000101')];
    expect(inQueueOrder([third, first, second], 'lock-')).toEqual([first, second, third]);
  });

  it('leaves other nodes out: directories, probes, leases', () => {
    const others = ['locks', 'leases', 'probe-0000000003', name('0000000001', 'lease-'), 'lock-12'];
    expect(inQueueOrder([...others, name('0000000002')], 'lock-')).toEqual([name('0000000002')]);
  });

  it('takes names without an id, as other recipes make them', () => {
    expect(inQueueOrder(['lock-0000000002', 'lock-0000000001'], 'lock-')).toEqual([
      'lock-0000000001',
      'lock-0000000002',
    ]);
  });

  it('goes on after the signed counter of the directory has wrapped', () => {
    const [before, last, wrapped, next] = [
      name('2147483646'),
      name('2147483647'),
      name('-2147483648'),
      name('-2147483647'),
    ];
    expect(inQueueOrder([wrapped, next, last, before], 'lock-')).toEqual([
      before,
      last,
      wrapped,
      next,
    ]);
  });

  it('keeps negative numbers first when the queue has left the wrap behind', () => {
    const [first, second] = [name('-0000000001'), name('0000000000')];
    expect(inQueueOrder([second, first], 'lock-')).toEqual([first, second]);
  });
});
