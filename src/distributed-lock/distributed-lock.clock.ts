let skewMs = Date.now() - performance.now();

/**
 * Milliseconds that never run slower than either clock of this machine; the scale of all deadlines.
 *
 * The monotonic clock stands still while the machine is suspended, the wall clock can be set back: a deadline
 * may trust neither alone. A forward step of the wall clock counts as time that has passed (a hold may then end
 * early, never late); a backward step counts for nothing.
 */
export function now(): number {
  const monotonic = performance.now();
  const skew = Date.now() - monotonic;
  if (skew > skewMs) skewMs = skew;
  return monotonic + skewMs;
}
