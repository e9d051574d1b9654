const RETRY_MS = 200;

/** redlock 5 and its fork. `using()` renews as long as the section runs. */
export async function redlockContender(Redlock, redis, { leaseMs, waitMs }) {
  const redlock = new Redlock([redis], {
    retryDelay: RETRY_MS,
    retryCount: Math.ceil(waitMs / RETRY_MS),
  });
  // Without a listener a busy key ends the process.
  redlock.on('error', () => undefined);
  const locked = (key, section) => redlock.using([key], leaseMs, section);
  return { locked, close: () => redis.disconnect() };
}
