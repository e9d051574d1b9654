import {
  type BeforeApplicationShutdown,
  type DynamicModule,
  Inject,
  Module,
  type OnModuleInit,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { adoptInstance } from './decorator/injected-runtime.js';
import { lockedMethodsOf } from './decorator/locked-method.js';
import { instancesIn, prototypesIn } from './distributed-lock.container.js';
import { show } from './distributed-lock.duration.js';
import { LockConfigurationError } from './distributed-lock.errors.js';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  type OPTIONS_TYPE,
  OWN_RUNTIME,
} from './distributed-lock.module-definition.js';
import { refuseUnknownOptions } from './distributed-lock.options.js';
import type { LockRuntime } from './distributed-lock.runtime.js';

const ASYNC_OPTIONS = [
  'imports',
  'inject',
  'useFactory',
  'useClass',
  'useExisting',
  'provideInjectionTokensFrom',
  'name',
  'isGlobal',
];

/**
 * Gives `@DistributedLock` its store. Import it once in the root module; by `name`, once per store.
 *
 * - *construction*: options are checked and the store is opened (see `connectOnBoot`)
 * - *onModuleInit*: the application's classes are checked for locks that could not work, the transactions find their
 *   DataSources, and the table of the fence is looked for
 * - *beforeApplicationShutdown*: waiters are turned away with `LockClosedError`, running methods may finish for `shutdownGrace`, then
 *   holds are given up and the store is closed; connections of a database are closed later, in `onApplicationShutdown`, so those methods
 *   can still commit
 */
@Module({})
export class DistributedLockModule
  extends ConfigurableModuleClass
  implements OnModuleInit, BeforeApplicationShutdown
{
  constructor(
    @Inject(OWN_RUNTIME) private readonly runtime: LockRuntime,
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
  ) {
    super();
    runtime.prepareWith(() => this.#prepare());
  }

  /** @throws {LockConfigurationError} at boot, naming the option, what was given and what is allowed. */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return super.forRoot(options);
  }

  /** With `useFactory` (and `inject`), `useClass` or `useExisting`. `name` and `isGlobal` stand beside them, not in what they return. */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    refuseUnknownOptions('forRootAsync: ', options, ASYNC_OPTIONS);
    const ways = ['useFactory', 'useClass', 'useExisting'].filter((way) => way in options);
    if (ways.length !== 1) {
      throw new LockConfigurationError(
        `DistributedLockModule.forRootAsync has ${ways.join(' and ') || 'no source of options'}; allowed: one of useFactory, useClass, useExisting.`,
      );
    }
    return super.forRootAsync(options);
  }

  async onModuleInit(): Promise<void> {
    this.#refuseSecondOfThisName();
    this.runtime.prepare();
    await this.runtime.verify();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.runtime.close();
  }

  #prepare(): void {
    const prefixes = new Set<string>();
    for (const prototype of prototypesIn(this.modules)) {
      for (const { use, options, where, keyPrefix } of lockedMethodsOf(prototype)) {
        if (use !== this.runtime.name) continue;
        this.runtime.check(options, where);
        if (prefixes.has(keyPrefix)) throw sharedScope(where);
        if (keyPrefix !== '') prefixes.add(keyPrefix);
      }
    }
    const instances = instancesIn(this.modules);
    this.runtime.adopt(instances);
    for (const instance of instances) adoptInstance(instance, this.runtime);
  }

  #refuseSecondOfThisName(): void {
    for (const module of this.modules.values()) {
      const instance: unknown = module.instance;
      if (instance === this || !(instance instanceof DistributedLockModule)) continue;
      if (instance.runtime.name !== this.runtime.name) continue;
      throw new LockConfigurationError(
        `Option "name" is ${show(this.runtime.name)} in two DistributedLockModules; allowed: one module of each name. ` +
          'Import it once in the root module, or give the second one a name.',
      );
    }
  }
}

function sharedScope(where: string): LockConfigurationError {
  return new LockConfigurationError(
    `Option "${where}: scope" is 'method' in two classes of one name: they would share their locks. Were the names minified? ` +
      'Allowed: names of their own (keepNames, keep_classnames); or write the prefix into the key.',
  );
}
