import { MurLock, MurLockModule } from 'murlock';
import { decorate } from './decorate.mjs';
import { nestApp } from './nest-app.mjs';

/** The pause of its README, the same for every attempt: its default grows with each. */
const RETRY_MS = 100;

/** Through its decorator; brings a client of its own. */
export async function open({ url, leaseMs, waitMs }) {
  class Work {
    async run(key, section) {
      return section(key);
    }
  }
  decorate(Work, 'run', MurLock(leaseMs, RETRY_MS, 'key'));
  const module = MurLockModule.forRoot({
    redisOptions: { url },
    wait: RETRY_MS,
    maxAttempts: Math.ceil(waitMs / RETRY_MS),
    logLevel: 'error',
  });
  const app = await nestApp([module], [Work]);
  const work = app.get(Work);
  return { locked: (key, section) => work.run(key, section), close: () => app.close() };
}
