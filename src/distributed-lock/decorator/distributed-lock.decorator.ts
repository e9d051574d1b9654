import { show } from '../distributed-lock.duration.js';
import { LockConfigurationError } from '../distributed-lock.errors.js';
import {
  type LockMethodOptions,
  type OnTimeout,
  resolveTimes,
} from '../distributed-lock.options.js';
import type { LockRuntime } from '../distributed-lock.runtime.js';
import { copyMethodShape } from './copy-method-shape.js';
import { injectRuntime, runtimeOf } from './injected-runtime.js';
import {
  type AnyMethod,
  describeLockedMethod,
  isMarkedAsLocked,
  type LockedMethod,
  markAsLocked,
} from './locked-method.js';

/** Names the lock, or several locks, from the arguments of a call. `this` is the instance. */
export type KeyFunction<Args extends readonly unknown[]> = (
  ...args: Args
) => string | readonly string[];

/** Options of {@link DistributedLock} beside the key. */
export interface DistributedLockMethodOptions<
  Timeout extends OnTimeout = OnTimeout,
  SignalArgs extends readonly unknown[] = [],
  WhenArgs extends readonly unknown[] = [],
> extends LockMethodOptions {
  /** Name of the module whose locks are used. Default: the one without a name. */
  readonly use?: string;
  readonly onTimeout?: Timeout;
  /**
   * Ends the wait of this call: it rejects with the signal's reason, and the method does not run. Has no effect once the lock is held.
   * `this` is the instance. What it throws reaches the caller as it is, and the method does not run.
   */
  readonly signal?: (...args: SignalArgs) => AbortSignal | undefined;
  /**
   * Whether this call needs the lock; read before the key. `false`: **it runs without the lock**, in its transaction if it has one, which is
   * then not fenced. As `condition` does in Spring. `this` is the instance. What it throws reaches the caller as it is, and the method does not run.
   */
  readonly when?: (...args: WhenArgs) => boolean;
}

/** Options of {@link DistributedLock}. */
export interface DistributedLockOptions<
  Args extends readonly unknown[] = [],
  Timeout extends OnTimeout = OnTimeout,
  SignalArgs extends readonly unknown[] = [],
  WhenArgs extends readonly unknown[] = [],
> extends DistributedLockMethodOptions<Timeout, SignalArgs, WhenArgs> {
  /** Calls with equal keys run one at a time: a key expression such as `'application:{applicationId}'`, or a function. */
  readonly key: string | KeyFunction<Args>;
}

/** Only a method that returns a promise can wait for its turn. */
export type AsyncMethod = (...args: never[]) => Promise<unknown>;

/** What the caller gets when the method was not run. Without `onTimeout`, `Timeout` is anything: then it is the default, to throw. */
type Fallback<Timeout> = OnTimeout extends Timeout
  ? never
  : Timeout extends 'skip'
    ? undefined
    : Timeout extends (...args: never[]) => infer Result
      ? Awaited<Result>
      : never;

/** Whether a function of these arguments can be called with those of the method. */
type Reads<Args extends readonly unknown[], Method extends AsyncMethod> =
  KeyFunction<Args> extends (...args: Parameters<Method>) => unknown ? true : false;

/** `Method` itself if the functions and the fallback fit it, else a text that says what does not. */
type Fitting<
  Method extends AsyncMethod,
  Args extends readonly unknown[],
  Timeout,
  SignalArgs extends readonly unknown[],
  WhenArgs extends readonly unknown[],
> =
  false extends Reads<Args, Method>
    ? 'the key reads arguments that the method does not take'
    : false extends Reads<SignalArgs, Method>
      ? 'the signal reads arguments that the method does not take'
      : false extends Reads<WhenArgs, Method>
        ? 'the condition reads arguments that the method does not take'
        : [Fallback<Timeout>] extends [Awaited<ReturnType<Method>>]
          ? Method
          : 'onTimeout gives callers a result that the method does not return';

/** Accepts the methods that the key can be formed for, and that may return what `onTimeout` gives. */
export type LockedMethodDecorator<
  Args extends readonly unknown[],
  Timeout = OnTimeout,
  SignalArgs extends readonly unknown[] = [],
  WhenArgs extends readonly unknown[] = [],
> = <Method extends AsyncMethod>(
  prototype: object,
  name: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & {
    value?: Fitting<Method, Args, Timeout, SignalArgs, WhenArgs>;
  },
) => void;

/**
 * Runs the method under a distributed lock: evaluates the key, waits its turn, opens the transaction (if the module has
 * transactions), runs the method, commits, and releases after the commit.
 *
 * Callers get what the method returns, or the very error it throws. Otherwise the method did not run, or its transaction was rolled back,
 * and the error says so: see `DistributedLockError`.
 *
 * Put it above every decorator that wraps the method, and anywhere among those that only set metadata.
 *
 * @throws {LockConfigurationError} when the class is defined, for options or a key that cannot work with this method.
 */
export function DistributedLock<
  Timeout extends OnTimeout,
  Args extends readonly unknown[] = [],
  SignalArgs extends readonly unknown[] = [],
  WhenArgs extends readonly unknown[] = [],
>(
  key: string | KeyFunction<Args>,
  options?: DistributedLockMethodOptions<Timeout, SignalArgs, WhenArgs>,
): LockedMethodDecorator<Args, Timeout, SignalArgs, WhenArgs>;
export function DistributedLock<
  Timeout extends OnTimeout,
  Args extends readonly unknown[] = [],
  SignalArgs extends readonly unknown[] = [],
  WhenArgs extends readonly unknown[] = [],
>(
  options: DistributedLockOptions<Args, Timeout, SignalArgs, WhenArgs>,
): LockedMethodDecorator<Args, Timeout, SignalArgs, WhenArgs>;
export function DistributedLock(first: unknown, second?: unknown): LockedMethodDecorator<never> {
  return (prototype, name, descriptor: PropertyDescriptor) => {
    const owner =
      typeof prototype === 'function' ? (prototype as { name: string }) : prototype.constructor;
    const where = `${owner.name}.${String(name)}`;
    const method = methodOf(prototype, descriptor, where);
    const place = { className: owner.name, name, where };
    const locked = describeLockedMethod(place, method, optionsOf(first, second, where));
    const wrapper = copyMethodShape(method, lockedWrapper(method, locked));
    markAsLocked(wrapper, locked);
    injectRuntime(prototype, locked.use);
    descriptor.value = wrapper;
  };
}

/** What is wrong with the call rejects, it does not throw. (A function that is `async` by itself would make one more promise for each call.) */
function lockedWrapper(method: AnyMethod, locked: LockedMethod): AnyMethod {
  const { options, where } = locked;
  const optionsOfCall = oncePerRuntime((runtime) => {
    const admission = runtime.admissionFor(options, where);
    return {
      admission,
      times: resolveTimes(options, runtime.times, `${where}: `),
      transaction: runtime.transactionFor(options.transaction, where, admission),
      onTimeout: options.onTimeout ?? ('throw' as const),
    };
  });

  return function (this: unknown, ...args: unknown[]): Promise<unknown> {
    try {
      const runtime = runtimeOf(this, locked.use, where);
      const { executor } = runtime;
      const { times, admission, transaction, onTimeout } = optionsOfCall(runtime);
      const proceed = (): unknown => Reflect.apply(method, this, args);
      if (!locked.needsLock(this, args))
        return executor.runUnlocked({ method: where, transaction, proceed });
      return executor.execute({
        method: where,
        signal: locked.signal(this, args),
        keys: locked.keys(this, args),
        times,
        admission,
        transaction,
        args,
        onTimeout,
        proceed,
      });
    } catch (error) {
      return Promise.reject(error);
    }
  };
}

/** Two applications in one process may run the same class with different defaults. */
function oncePerRuntime<T>(compute: (runtime: LockRuntime) => T): (runtime: LockRuntime) => T {
  const computed = new WeakMap<LockRuntime, T>();
  return (runtime) => {
    let value = computed.get(runtime);
    if (value === undefined) computed.set(runtime, (value = compute(runtime)));
    return value;
  };
}

function optionsOf(first: unknown, second: unknown, where: string): object {
  const positional = typeof first !== 'object' || first === null;
  const given = positional ? (second ?? {}) : first;
  if (typeof given !== 'object' || Array.isArray(given)) {
    throw new LockConfigurationError(
      `${where}: the options are ${show(given)}; allowed: an object, such as { waitTime: '3s' }.`,
    );
  }
  return positional ? { ...given, key: first } : given;
}

/** @throws {LockConfigurationError} unless the decorator stands on an instance method that can be awaited. */
function methodOf(
  prototype: object,
  descriptor: PropertyDescriptor | undefined,
  where: string,
): AnyMethod {
  const refuse = (what: string) =>
    new LockConfigurationError(`${where}: @DistributedLock stands on ${what}.`);
  if (typeof prototype === 'function')
    throw refuse('a static method; allowed: methods of instances, which Nest gives the lock to');
  const method: unknown = descriptor?.value;
  if (typeof method !== 'function') throw refuse('a property or an accessor; allowed: methods');
  if (/Generator/.test(Object.prototype.toString.call(method))) {
    throw refuse('a generator; allowed: methods that return a promise');
  }
  if (isMarkedAsLocked(method as AnyMethod)) {
    throw refuse('a method that has one already; return several keys from one "key" instead');
  }
  return method as AnyMethod;
}
