const FIRST_PAUSE_MS = 5;

/**
 * How long to wait before looking at a busy key again, in milliseconds: exponential back-off with full jitter, so that processes
 * do not look in step.
 *
 * @param attempt busy answers so far, 1 and up.
 */
export function pollPause(attempt: number, growth: number, longestMs: number): number {
  const ceiling = Math.min(FIRST_PAUSE_MS * growth ** Math.min(attempt, 100), longestMs);
  return 1 + Math.random() * ceiling;
}
