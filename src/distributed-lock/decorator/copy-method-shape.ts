import 'reflect-metadata';

type AnyFunction = (this: never, ...args: never[]) => unknown;

const NOT_COPIED: ReadonlySet<string | symbol> = new Set(['prototype', 'arguments', 'caller']);

/**
 * Makes `wrapper` look like `method` to everybody who reads functions: Reflect metadata (guards, routes, pipes, `@Cron`,
 * `@OnEvent` write it on the function), own properties, name and arity. Without it, a guard below the decorator
 * would be dropped silently.
 *
 * @returns `wrapper`.
 */
export function copyMethodShape<Wrapper extends AnyFunction>(
  method: AnyFunction,
  wrapper: Wrapper,
): Wrapper {
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), wrapper);
  }
  for (const key of Reflect.ownKeys(method)) {
    if (NOT_COPIED.has(key)) continue;
    Object.defineProperty(wrapper, key, Object.getOwnPropertyDescriptor(method, key)!);
  }
  return wrapper;
}
