import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Logger,
  type Provider,
} from '@nestjs/common';
import { runtimeToken } from './decorator/injected-runtime.js';
import { DEFAULT_NAME } from './decorator/locked-method.js';
import { show } from './distributed-lock.duration.js';
import { LockConfigurationError } from './distributed-lock.errors.js';
import type { LockEvent } from './distributed-lock.events.js';
import { checkModuleOptions } from './distributed-lock.module-options.js';
import { booleanOption, type DistributedLockModuleOptions } from './distributed-lock.options.js';
import { LockRuntime } from './distributed-lock.runtime.js';
import { DistributedLockService } from './distributed-lock.service.js';
import { getDistributedLockToken } from './distributed-lock.tokens.js';

const logger = new Logger('DistributedLock');

/** What Nest must know before it has the other options. */
export interface ModuleExtras {
  /** Tells several modules apart: `@DistributedLock({ use: name, … })`, `@InjectDistributedLock(name)`. Default: no name. */
  readonly name?: string;
  /** `false`: only modules that import this one can lock. Default `true`. */
  readonly isGlobal?: boolean;
}

/** What a class given to `forRootAsync` as `useClass` or `useExisting` implements. */
export interface DistributedLockOptionsFactory {
  createDistributedLockOptions():
    DistributedLockModuleOptions | Promise<DistributedLockModuleOptions>;
}

/** The runtime of the module that asks, whatever its name. Nest prints the description if the class is imported bare. */
export const OWN_RUNTIME = Symbol(
  'DistributedLockModule.forRoot({ store: … }) instead of DistributedLockModule',
);

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<DistributedLockModuleOptions>({ moduleName: 'DistributedLock' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createDistributedLockOptions')
    .setExtras<ModuleExtras>({ name: DEFAULT_NAME, isGlobal: true }, withLocks)
    .build();

/** Adds to a module with options what makes locks of them. */
function withLocks(
  definition: DynamicModule,
  { name = DEFAULT_NAME, isGlobal }: ModuleExtras,
): DynamicModule {
  if (typeof name !== 'string' || name === '') {
    throw new LockConfigurationError(`Option "name" is ${show(name)}; allowed: a text, not empty.`);
  }
  const service = getDistributedLockToken(name);
  const locks: Provider[] = [
    {
      provide: runtimeToken(name),
      useFactory: (options: unknown) => openRuntime(name, options),
      inject: [MODULE_OPTIONS_TOKEN],
    },
    { provide: OWN_RUNTIME, useExisting: runtimeToken(name) },
    {
      provide: service,
      useFactory: (runtime: LockRuntime) => new DistributedLockService(runtime),
      inject: [runtimeToken(name)],
    },
  ];
  return {
    ...definition,
    global: booleanOption('isGlobal', isGlobal, true),
    providers: [...(definition.providers ?? []), ...locks],
    exports: [...(definition.exports ?? []), runtimeToken(name), service],
  };
}

async function openRuntime(name: string, options: unknown): Promise<LockRuntime> {
  const runtime = new LockRuntime(name, checkModuleOptions(options));
  runtime.events.onTrouble(logTrouble);
  await runtime.open((error) =>
    logger.warn(`The application starts without its lock store: ${String(error)}`),
  );
  return runtime;
}

/** What nobody else may notice: a caller learns of a loss, an operator should too; a failed release reaches no caller at all. */
function logTrouble(event: LockEvent): void {
  if (event.type === 'lost') {
    logger.warn(
      `Lock "${event.key}" was lost after ${Math.round(event.heldMs)} ms (${event.reason}).`,
    );
  }
  if (event.type === 'force-released') {
    logger.warn(`Lock "${event.key}": ${event.holds} holds were ended by force.`);
  }
  if (event.type === 'leadership-failed') {
    logger.warn(`Leader "${event.key}": ${event.during} failed: ${String(event.error)}`);
  }
  if (event.type === 'release-failed') {
    logger.warn(
      `Lock "${event.key}" could not be released and ends with its lease: ${String(event.error)}`,
    );
  }
}
