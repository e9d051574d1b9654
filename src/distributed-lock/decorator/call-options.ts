import { show } from '../distributed-lock.duration.js';
import { LockConfigurationError } from '../distributed-lock.errors.js';

/** What a function among the options says of one call. `self` is the instance. */
export type OfCall<T> = (self: unknown, args: readonly unknown[]) => T;

/** @throws {LockConfigurationError} unless it is a function, or not given; the compiled one, for what it returns. */
export function checkSignal(where: string, given: unknown): OfCall<AbortSignal | undefined> {
  if (given === undefined) return () => undefined;
  const signalOf = functionOf(`${where}: signal`, given, 'an AbortSignal or undefined');
  return (self, args) => {
    const signal = signalOf(self, args);
    if (signal === undefined || signal instanceof AbortSignal) return signal;
    throw new LockConfigurationError(
      `Option "${where}: signal" returned ${show(signal)}; allowed: an AbortSignal, undefined. The method did not run.`,
    );
  };
}

/** @throws {LockConfigurationError} as {@link checkSignal} does. */
export function checkWhen(where: string, given: unknown): OfCall<boolean> {
  if (given === undefined) return () => true;
  const when = functionOf(`${where}: when`, given, 'true or false');
  return (self, args) => {
    const answer = when(self, args);
    if (typeof answer === 'boolean') return answer;
    // A promise is truthy and a missing value is not: neither may decide about a lock by accident.
    if (answer instanceof Promise) answer.catch(() => undefined);
    throw new LockConfigurationError(
      `Option "${where}: when" returned ${show(answer)}; allowed: true, false. The method did not run.`,
    );
  };
}

function functionOf(option: string, given: unknown, returns: string): OfCall<unknown> {
  if (typeof given === 'function') return (self, args) => Reflect.apply(given, self, args);
  throw new LockConfigurationError(
    `Option "${option}" is ${show(given)}; allowed: a function of the arguments that returns ${returns}.`,
  );
}
