import { Redisson, TimeUnit } from 'node-redisson';
import { bracket } from './bracket.mjs';

/** A lock without a lease time is renewed by its watchdog. */
export async function open({ url, leaseMs, waitMs }) {
  const { hostname: host, port } = new URL(url);
  const redisson = new Redisson({
    redis: { options: { host, port: Number(port) } },
    lockWatchdogTimeout: BigInt(leaseMs),
  });
  const acquire = async (key) => {
    const lock = redisson.getLock(key);
    if (!(await lock.tryLock(waitMs, true, TimeUnit.MILLISECONDS))) throw new Error('timeout');
    return lock;
  };
  return { locked: bracket(acquire, (lock) => lock.unlock()), close: () => redisson.quit() };
}
