import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { DistributedLockModule } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';

/** A Nest application with the lock on Redis, as a user has it. */
export function lockApp({ url, leaseMs, waitMs }, providers = [], moduleOptions = {}) {
  class AppModule {}
  return NestFactory.createApplicationContext(
    {
      module: AppModule,
      providers,
      imports: [
        DistributedLockModule.forRoot({
          store: redisStore({ connection: url }),
          namespace: 'bench',
          leaseTime: leaseMs,
          waitTime: waitMs,
          ...moduleOptions,
        }),
      ],
    },
    { logger: ['error'] },
  );
}
