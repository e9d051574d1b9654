import { createRequire } from 'node:module';
import { Redis } from 'ioredis';
import { decorate } from './decorate.mjs';
import { nestApp } from './nest-app.mjs';

// What it offers to `import` names its own files without their extension, which Node does not find.
const require = createRequire(import.meta.url);
const { Redlock, RedlockModule, RedlockService } = require('@anchan828/nest-redlock');

const RETRY_MS = 200;

/** Through its decorator, on redlock 5; renews. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = new Redis(url);
  class Work {
    async run(key, section) {
      return section(key);
    }
  }
  decorate(
    Work,
    'run',
    Redlock((_work, key) => key, leaseMs),
  );
  const settings = { retryDelay: RETRY_MS, retryCount: Math.ceil(waitMs / RETRY_MS) };
  const app = await nestApp([RedlockModule.register({ clients: [redis], settings })], [Work]);
  app.get(RedlockService, { strict: false }).on('error', () => undefined);
  const work = app.get(Work);
  return { locked: (key, section) => work.run(key, section), close: () => redis.disconnect() };
}
