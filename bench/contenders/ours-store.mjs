import { redisStore } from 'nestjs-distributed-lock/redis';
import { bracket } from './bracket.mjs';

/** The store alone: no hold, no renewal, no events. */
export async function open({ url, leaseMs, waitMs }) {
  const store = redisStore({ connection: url });
  await store.open('bench', 5_000);
  const acquire = async (key) => {
    const grant = await store.acquire({ key, leaseTimeMs: leaseMs, waitTimeMs: waitMs });
    if (grant === null) throw new Error('timeout');
    return grant;
  };
  const release = (grant) => store.release(grant);
  return { locked: bracket(acquire, release), close: () => store.close() };
}
