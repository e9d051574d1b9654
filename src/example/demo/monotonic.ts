/** Milliseconds of a clock that all processes of this machine share and nobody can set. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The last stretch before a start is waited for without timers, which are late by up to a few milliseconds. */
const SPIN_MS = 2;

/** Resolves at a moment of {@link monotonicMs}; at once if it has passed. Exact to some ten microseconds on an idle core. */
export async function at(startAt: number): Promise<void> {
  const sleepMs = startAt - monotonicMs() - SPIN_MS;
  if (sleepMs > 0) await new Promise((resolve) => setTimeout(resolve, sleepMs));
  while (monotonicMs() < startAt);
}
