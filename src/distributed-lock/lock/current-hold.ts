import { AsyncLocalStorage } from 'node:async_hooks';
import { LockNotHeldError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { Hold } from './hold.js';
import type { HoldPart, ManagedHold } from './managed-hold.js';

interface Scope {
  /** The manager that made the hold: equal keys of two modules are different locks. */
  readonly manager: object;
  readonly hold: ManagedHold;
  readonly outer: Scope | undefined;
}

const scopes = new AsyncLocalStorage<Scope>();

/** The innermost hold of the locked method or callback that this code runs in; `undefined` outside, and after its end. */
export function currentHold(): Hold | undefined {
  const hold = scopes.getStore()?.hold;
  return hold?.isHeld() ? hold : undefined;
}

/**
 * For the body of a method that must never run without its lock: throws unless the calling chain is inside a hold, of that key if one is given.
 *
 * @param key as it stands in `hold.keys`; of any module.
 * @throws {LockNotHeldError} if it is inside none: the decorator is gone, `when` was false, or the method was called past it
 * @throws {LockLostError} if that hold was lost
 */
export function assertLocked(key?: string): void {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    if (key === undefined || scope.hold.keys.includes(key as LockKey))
      return scope.hold.assertHeld();
  }
  throw new LockNotHeldError(
    key ?? null,
    {},
    'is not held: this code runs outside every locked method that would hold it',
  );
}

/** Runs `work` as the inside of a hold. */
export function insideHold<T>(manager: object, hold: ManagedHold, work: () => T): T {
  return scopes.run({ manager, hold, outer: scopes.getStore() }, work);
}

/** Runs `work` as if the calling chain were inside no hold: it outlives the call that starts it. */
export function outsideHolds<T>(work: () => T): T {
  return scopes.exit(work);
}

/** The caller's own hold of a key, which a nested call may join. */
export function heldByCaller(manager: object, key: LockKey): HoldPart | undefined {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    const part = scope.manager === manager ? scope.hold.part(key) : undefined;
    if (part?.isOpen) return part;
  }
  return undefined;
}
