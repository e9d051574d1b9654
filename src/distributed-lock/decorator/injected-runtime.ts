import { Inject } from '@nestjs/common';
import { LockConfigurationError } from '../distributed-lock.errors.js';
import type { LockRuntime } from '../distributed-lock.runtime.js';
import { DEFAULT_NAME } from './locked-method.js';

const TOKENS = new Map<string, symbol>();

/**
 * Injection token of a module's runtime, and the name of the property it is injected into.
 * Nest prints it when it finds no such module, so it is the advice.
 */
export function runtimeToken(moduleName: string): symbol {
  let token = TOKENS.get(moduleName);
  if (token === undefined) {
    const options =
      moduleName === DEFAULT_NAME ? '{ store: … }' : `{ name: '${moduleName}', store: … }`;
    token = Symbol(
      `@DistributedLock needs DistributedLockModule.forRoot(${options}) in the imports of the root module`,
    );
    TOKENS.set(moduleName, token);
  }
  return token;
}

type Injected = Record<symbol, LockRuntime | undefined>;

/**
 * Lets Nest give the module's runtime to every instance of the class, in a property that is not enumerable: it does not
 * show in JSON, in spread copies or in comparisons.
 */
export function injectRuntime(prototype: object, moduleName: string): void {
  const token = runtimeToken(moduleName);
  Inject(token)(prototype, token);
  if (token in prototype) return;
  Object.defineProperty(prototype, token, {
    configurable: true,
    get: () => undefined,
    set(this: object, runtime: LockRuntime) {
      Object.defineProperty(this, token, { value: runtime, writable: true, configurable: true });
    },
  });
}

/** Gives the runtime to an instance that Nest did not construct itself (`useFactory`, `useValue`); others keep theirs. */
export function adoptInstance(instance: object, runtime: LockRuntime): void {
  const token = runtimeToken(runtime.name);
  if (token in instance && (instance as Injected)[token] === undefined)
    (instance as Injected)[token] = runtime;
}

/** @throws {LockConfigurationError} if the instance was made outside Nest's container: it would run unlocked. */
export function runtimeOf(instance: unknown, moduleName: string, where: string): LockRuntime {
  const runtime = (instance as Injected | undefined)?.[runtimeToken(moduleName)];
  if (runtime !== undefined) return runtime;
  throw new LockConfigurationError(
    `${where} is locked, but its instance has no lock module: it was made with "new", by a factory before the application ` +
      'had started, or the method was called without its instance. It did not run. Get the instance from Nest; in a unit test, from ' +
      'Test.createTestingModule({ imports: [DistributedLockModule.forRoot({ store: memoryStore() })], providers: [...] }).',
  );
}
