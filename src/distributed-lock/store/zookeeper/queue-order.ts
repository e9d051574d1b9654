/**
 * What stands before the number in the name of a queue node: `_c_<uuid>-lock-0000000007`.
 *
 * Curator's recipes make `lock-`, `lease-`, `__WRIT__` and `__READ__`. Its mutex sorts by what follows the last `lock-` and takes
 * whatever has it for one of its own, and its semaphore counts every node: so both keep off the shared ones as well.
 */
export type QueuePrefix =
  'lock-' | 'shared-lock-' | 'lease-' | 'shared-lease-' | '__WRIT__' | '__READ__';

export interface QueuePlace {
  readonly name: string;
  readonly isShared: boolean;
}

/** A prefix and the number behind it: a hyphen that belongs to the prefix is no sign. */
const PLACE = /(?:(shared-)?(?:lock|lease)-|__(?:(READ)|WRIT)__)(-?\d{10})$/;

const TWO_TO_THE_31 = 2 ** 31;
const TWO_TO_THE_32 = 2 ** 32;

/**
 * The places of a queue, first come first, whichever recipe made them. Other nodes in the same directory are left out.
 *
 * The sequence number is a signed 32-bit counter of the directory: after 2147483647 comes -2147483648. A queue that spans more than
 * half the circle has passed that point, and its negative numbers are the later ones.
 */
export function inQueueOrder(names: readonly string[]): readonly QueuePlace[] {
  const queue: (QueuePlace & { number: number })[] = [];
  for (const name of names) {
    const [, shared, read, digits] = PLACE.exec(name) ?? [];
    if (digits === undefined) continue;
    queue.push({ name, number: Number(digits), isShared: (shared ?? read) !== undefined });
  }
  queue.sort((a, b) => a.number - b.number);
  const [first, last] = [queue[0], queue.at(-1)];
  if (first && last && last.number - first.number > TWO_TO_THE_31) {
    for (const it of queue) if (it.number < 0) it.number += TWO_TO_THE_32;
    queue.sort((a, b) => a.number - b.number);
  }
  return queue;
}
