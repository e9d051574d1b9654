import { bracket } from './bracket.mjs';
import { fencedLock } from './limit-fenced.mjs';

/** As limit-fenced, but the release is not awaited: it goes with the next acquire, so that a cycle is one round trip and two scripts. */
export async function open(options) {
  const { acquire, release, close } = await fencedLock(options);
  return { locked: bracket(acquire, (held) => void release(held)), close };
}
