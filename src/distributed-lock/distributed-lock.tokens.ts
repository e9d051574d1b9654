import { Inject, type InjectionToken } from '@nestjs/common';
import { DistributedLockService } from './distributed-lock.service.js';
import { DEFAULT_NAME } from './decorator/locked-method.js';

/** Injection token of the {@link DistributedLockService} of a module; without a name, the class itself. */
export function getDistributedLockToken(
  name: string = DEFAULT_NAME,
): InjectionToken<DistributedLockService> {
  return name === DEFAULT_NAME ? DistributedLockService : `DistributedLockService(${name})`;
}

/** Injects the {@link DistributedLockService} of the module of that name. Without a name the type alone is enough. */
export function InjectDistributedLock(name?: string): PropertyDecorator & ParameterDecorator {
  return Inject(getDistributedLockToken(name));
}
