import type { LockKey } from '../../key/lock-key.js';

/** What a node's name may have as it is: the characters of a URL's path segment. */
const OTHERS = /[^A-Za-z0-9._~!$&'()*+,;=:@-]/gu;

/**
 * A key as the name of a node: readable, reversible, and different for different keys.
 *
 * Bytes of other characters are percent-encoded, and so is a whole name `.` or `..`, which ZooKeeper does not allow. At most three
 * times the length of the key; ZooKeeper limits only the packet, to a megabyte.
 */
export function nodeName(key: LockKey): string {
  if (key === '.' || key === '..') return key.replaceAll('.', '%2E');
  return key.replace(OTHERS, (character) =>
    Array.from(Buffer.from(character), (byte) => `%${hex(byte)}`).join(''),
  );
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0');
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
