import { DistributedLockModule } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { nestApp } from './nest-app.mjs';

/** A Nest application with the lock on Redis, as a user has it. */
export function lockApp({ url, leaseMs, waitMs }, providers, moduleOptions) {
  const module = DistributedLockModule.forRoot({
    store: redisStore({ connection: url }),
    namespace: 'bench',
    leaseTime: leaseMs,
    waitTime: waitMs,
    ...moduleOptions,
  });
  return nestApp([module], providers);
}
