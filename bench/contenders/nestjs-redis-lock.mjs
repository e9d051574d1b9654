import { RedlockModule, RedlockService } from '@nestjs-redis/lock';
import { createClient } from 'redis';
import { nestApp } from './nest-app.mjs';

const RETRY_MS = 200;

/** Through its service: the keys of its decorator are fixed. On node-redis; renews. */
export async function open({ url, leaseMs, waitMs }) {
  const redis = await createClient({ url }).connect();
  const redlockConfig = { retryDelayMs: RETRY_MS, maxRetryAttempts: Math.ceil(waitMs / RETRY_MS) };
  const module = RedlockModule.forRoot({ clients: [redis], redlockConfig });
  const locks = (await nestApp([module])).get(RedlockService);
  const locked = (key, section) => locks.withLock([key], leaseMs, section);
  return { locked, close: () => redis.destroy() };
}
