/** By how much a wall clock must fall behind to count as set back; below, it is the jitter of two clocks read in turn. */
const SET_BACK_MS = 1_000;

/** Wall clock less monotonic clock: the highest since the wall clock was last set back. */
let aheadMs = Date.now() - performance.now();
let skewMs = aheadMs;

/**
 * Milliseconds that never run slower than either clock of this machine; the scale of all deadlines.
 *
 * The monotonic clock stands still while the machine is suspended, the wall clock can be set back: a deadline
 * may trust neither alone. A forward step of the wall clock counts as time that has passed (a hold may then end
 * early, never late); a backward step counts for nothing, and does not hide the forward steps after it.
 */
export function now(): number {
  const monotonic = performance.now();
  const ahead = Date.now() - monotonic;
  if (ahead > aheadMs) {
    skewMs += ahead - aheadMs;
    aheadMs = ahead;
  } else if (ahead < aheadMs - SET_BACK_MS) {
    aheadMs = ahead;
  }
  return monotonic + skewMs;
}
