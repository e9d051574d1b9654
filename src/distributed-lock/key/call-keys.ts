import { LockConfigurationError, LockKeyError } from '../distributed-lock.errors.js';
import { compileKeyExpression } from './key-expression.js';
import { describe, type LockKey, lockKey, lockKeys } from './lock-key.js';

/** The keys of one call, in the order in which they are acquired. `self` is the instance. */
export type CallKeys = (self: unknown, args: readonly unknown[]) => readonly LockKey[];

/**
 * Compiles what a user may give as `key`: an expression, or a function of the arguments that returns a key or several.
 *
 * A function is called with the instance as `this`; what it throws reaches the caller as it is, and the method does not run.
 *
 * @param where `Class.method`, for messages.
 * @throws {LockConfigurationError} if it is neither, or the expression does not fit the method. The compiled function
 * throws {@link LockKeyError} for a call whose key cannot be formed.
 */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- any method: only its source text is read
export function compileCallKeys(key: unknown, method: Function, where: string): CallKeys {
  if (typeof key === 'string') {
    const text = compileKeyExpression(key, method, where);
    return (_self, args) => [lockKey(text(args))];
  }
  if (typeof key === 'function')
    return (self, args) => functionKeys(Reflect.apply(key, self, args), where);
  throw new LockConfigurationError(
    `${where}: option "key" is ${describe(key)}; allowed: a key expression such as 'application:{applicationId}', ` +
      'or a function of the arguments that returns a key or a list of keys.',
  );
}

/** The same keys, all beginning with `prefix`. */
export function scopedKeys(keys: CallKeys, prefix: string): CallKeys {
  if (prefix === '') return keys;
  return (self, args) => keys(self, args).map((key) => lockKey(prefix + key));
}

function functionKeys(returned: unknown, where: string): readonly LockKey[] {
  if (!isPromiseLike(returned)) return lockKeys(returned);
  // Nobody will await it: without a handler, its rejection would end the process.
  Promise.resolve(returned).catch(() => undefined);
  throw new LockKeyError(
    `${where}: the key function returned a promise. A key is formed synchronously, from the arguments and the instance; ` +
      'look values up before the call and pass them as arguments.',
  );
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    'then' in value &&
    typeof value.then === 'function'
  );
}
