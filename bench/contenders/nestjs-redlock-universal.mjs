import { Redis } from 'ioredis';
import { IoredisAdapter, Redlock, RedlockModule } from 'nestjs-redlock-universal';
import { decorate } from './decorate.mjs';
import { nestApp } from './nest-app.mjs';

const RETRY_MS = 200;

/** Through its decorator; renews. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  class Work {
    async run(key, section) {
      return section(key);
    }
  }
  decorate(Work, 'run', Redlock({ key: (key) => key, ttl: leaseMs }));
  const module = RedlockModule.forRoot({
    nodes: [new IoredisAdapter(redis)],
    defaultTtl: leaseMs,
    retryDelay: RETRY_MS,
    retryAttempts: Math.ceil(waitMs / RETRY_MS),
  });
  const app = await nestApp([module], [Work]);
  const work = app.get(Work);
  return { locked: (key, section) => work.run(key, section), close: () => redis.disconnect() };
}
