import { LockStoreUnavailableError } from '../../distributed-lock.errors.js';

/** @throws {LockStoreUnavailableError} with `detail` if the promise is not settled in time. It goes on. */
export async function within<T>(
  promise: Promise<T>,
  timeoutMs: number,
  detail: string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    const late = (): void => reject(new LockStoreUnavailableError('redis', null, detail));
    // After this process was blocked, timers come before answers that have long arrived: those are read first.
    timer = setTimeout(() => setImmediate(late), timeoutMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
