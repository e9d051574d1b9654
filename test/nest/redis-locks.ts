import { randomUUID } from 'node:crypto';
import type { DynamicModule } from '@nestjs/common';
import { DistributedLockModule, type DistributedLockModuleOptions } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { redisUrl } from '../support/with-services.js';

/** A lock module on the real Redis, in a namespace of its own; applications that are given one share their locks. */
export function redisLocks(
  options: Partial<DistributedLockModuleOptions> = {},
  namespace = `t-${randomUUID().slice(0, 8)}`,
): DynamicModule {
  // Made by a factory: every application needs a store of its own.
  return DistributedLockModule.forRootAsync({
    useFactory: () => ({
      store: redisStore({ connection: redisUrl() }),
      namespace,
      shutdownGrace: 0, // what a test leaves held need not be waited for
      ...options,
    }),
  });
}
