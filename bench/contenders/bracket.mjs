/** A contender's `locked(key, section)` from its acquire and release: what its user would write. */
export function bracket(acquire, release) {
  return async (key, section) => {
    const held = await acquire(key);
    try {
      return await section();
    } finally {
      await release(held);
    }
  };
}

const RETRY_MS = 10;

/** Asks again after a pause, as a lock without a queue must. */
export async function retrying(attempt, waitMs) {
  const until = performance.now() + waitMs;
  for (;;) {
    const held = await attempt();
    if (held !== null) return held;
    if (performance.now() > until) throw new Error('timeout');
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
