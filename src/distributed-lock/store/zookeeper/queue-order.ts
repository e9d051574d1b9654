/** Names of queue nodes: `_c_<uuid>-lock-0000000007`, as Curator's recipes make them. */
export type QueuePrefix = 'lock-' | 'lease-';

const TWO_TO_THE_31 = 2 ** 31;
const TWO_TO_THE_32 = 2 ** 32;

/**
 * The names that stand in a queue, first come first. Others in the same directory are left out.
 *
 * The sequence number is a signed 32-bit counter of the directory: after 2147483647 comes -2147483648. A queue that spans more than
 * half the circle has passed that point, and its negative numbers are the later ones.
 */
export function inQueueOrder(names: readonly string[], prefix: QueuePrefix): readonly string[] {
  const queue: { readonly name: string; number: number }[] = [];
  for (const name of names) {
    const number = sequenceNumber(name, prefix);
    if (number !== null) queue.push({ name, number });
  }
  queue.sort((a, b) => a.number - b.number);
  const [first, last] = [queue[0], queue.at(-1)];
  if (first && last && last.number - first.number > TWO_TO_THE_31) {
    for (const it of queue) if (it.number < 0) it.number += TWO_TO_THE_32;
    queue.sort((a, b) => a.number - b.number);
  }
  return queue.map((it) => it.name);
}

/** The number after the *last* prefix: a hyphen that belongs to the prefix is no sign. */
function sequenceNumber(name: string, prefix: QueuePrefix): number | null {
  const at = name.lastIndexOf(prefix);
  if (at < 0) return null;
  const digits = name.slice(at + prefix.length);
  return /^-?\d{10}$/.test(digits) ? Number(digits) : null;
}
