/** How one call of a race ended. */
export type RaceResult<T> = PromiseSettledResult<T> & {
  /** From the release of the barrier to the end of the call, in milliseconds. */
  readonly durationMs: number;
};

/** All calls of a race, in the order in which they were given. */
export interface Race<T> {
  readonly results: readonly RaceResult<T>[];
  /** What the calls that succeeded returned. */
  readonly values: readonly T[];
  /** What the calls that failed were rejected with. */
  readonly errors: readonly unknown[];
  /** From the release of the barrier to the end of the last call, in milliseconds. */
  readonly durationMs: number;
}

/**
 * Releases calls by one barrier and collects how each of them ended; a call that fails does not end the race.
 *
 * All calls stand at the barrier before the first one starts, and start in the same turn of the event loop: what an
 * executor with a countdown latch does with threads. They race within this process; processes race only over a store
 * that both reach.
 *
 * ```ts
 * const { values, errors } = await raceTogether(10, (index) => quotes.submit(applicationId, index));
 * const { results } = await raceTogether([() => applications.cancel(id), () => quotes.submit(id, 100)]);
 * ```
 *
 * @throws {RangeError} for a count that is not a whole number above 0, and for an empty list.
 */
export async function raceTogether<T>(
  calls: readonly (() => T | PromiseLike<T>)[],
): Promise<Race<Awaited<T>>>;
export async function raceTogether<T>(
  count: number,
  call: (index: number) => T | PromiseLike<T>,
): Promise<Race<Awaited<T>>>;
export async function raceTogether<T>(
  countOrCalls: number | readonly (() => T | PromiseLike<T>)[],
  call?: (index: number) => T | PromiseLike<T>,
): Promise<Race<Awaited<T>>> {
  const calls = typeof countOrCalls === 'number' ? copies(countOrCalls, call!) : countOrCalls;
  if (calls.length === 0) throw new RangeError('A race needs at least one call.');

  let release = (): void => undefined;
  const barrier = new Promise<void>((resolve) => (release = resolve));
  let releasedAt = 0;
  const settled = calls.map(async (start): Promise<RaceResult<Awaited<T>>> => {
    await barrier;
    try {
      const value = await start();
      return { status: 'fulfilled', value, durationMs: performance.now() - releasedAt };
    } catch (reason) {
      return { status: 'rejected', reason, durationMs: performance.now() - releasedAt };
    }
  });
  releasedAt = performance.now();
  release();

  const results = await Promise.all(settled);
  return {
    results,
    values: results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : [])),
    errors: results.flatMap((it) => (it.status === 'rejected' ? [it.reason as unknown] : [])),
    durationMs: performance.now() - releasedAt,
  };
}

function copies<T>(count: number, call: (index: number) => T): readonly (() => T)[] {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`A race needs a whole number of calls above 0, not ${count}.`);
  }
  return Array.from({ length: count }, (_, index) => () => call(index));
}
