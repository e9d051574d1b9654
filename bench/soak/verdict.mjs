/** Whether a soak was flat: what a quiet moment holds must not grow after the first quarter of the run. */
import { median } from '../statistics.mjs';

const MEGABYTE = 1_000_000;

/** How much more the last quarter may hold than the second one. A leak of one per call is thousands. */
const ALLOWED = {
  heap: (early) => Math.max(early * 0.05, 2 * MEGABYTE),
  timers: () => 3,
  sockets: () => 1,
  listeners: () => 3,
  connections: () => 1,
  keys: () => 3,
  locks: () => 0,
};

/**
 * @param samples of quiet moments, in order; at least 8.
 * @returns per figure `{ name, early, late, ok }`.
 */
export function verdict(samples) {
  const quarter = Math.floor(samples.length / 4);
  const second = samples.slice(quarter, 2 * quarter);
  const last = samples.slice(-quarter);
  return Object.entries(ALLOWED).map(([name, allowed]) => {
    const [early, late] = [second, last].map((part) => median(part.map((it) => it[name])));
    return { name, early, late, ok: late - early <= allowed(early) };
  });
}
