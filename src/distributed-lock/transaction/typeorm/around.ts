/** The method as it was; called without arguments, it gets those of the call. */
type Original = (...args: unknown[]) => unknown;

/** Puts `advice` around one method of one object. The prototype and other objects are not touched. */
export function around<T extends object>(
  target: T,
  method: keyof T & string,
  advice: (original: Original, args: readonly unknown[]) => unknown,
): void {
  const original = target[method] as (this: unknown, ...args: unknown[]) => unknown;
  Object.defineProperty(target, method, {
    configurable: true,
    writable: true,
    value(this: unknown, ...args: unknown[]): unknown {
      return advice((...others) => original.apply(this, others.length === 0 ? args : others), args);
    },
  });
}
