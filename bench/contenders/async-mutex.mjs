import { Mutex } from 'async-mutex';

/** The bound for one process: no server at all. */
export async function open() {
  const mutexes = new Map();
  const mutexOf = (key) => {
    const known = mutexes.get(key);
    if (known) return known;
    const made = new Mutex();
    mutexes.set(key, made);
    return made;
  };
  return { locked: (key, section) => mutexOf(key).runExclusive(section), close: () => undefined };
}
