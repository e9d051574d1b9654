import { Redis } from 'ioredis';
import { bracket } from './bracket.mjs';

/** Whoever finds the key taken waits on a bare promise, for ever: the heap that a waiting call takes by itself, whatever lock it waits for. */
export async function open({ url, leaseMs }) {
  const redis = new Redis(url);
  await redis.ping();
  // Without these nobody could ever end the wait, and the collector would take it.
  const waiting = [];
  const acquire = async (key) => {
    const answer = await redis.set(key, 'taken', 'PX', leaseMs, 'NX');
    if (answer !== 'OK') await new Promise((resolve) => waiting.push(resolve));
  };
  return { locked: bracket(acquire, () => undefined), close: () => redis.disconnect() };
}
