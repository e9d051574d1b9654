import { AsyncLocalStorage } from 'node:async_hooks';
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

/** Runs `work` as the inside of a hold. */
export function insideHold<T>(manager: object, hold: ManagedHold, work: () => T): T {
  return scopes.run({ manager, hold, outer: scopes.getStore() }, work);
}

/** The caller's own hold of a key, which a nested call may join. */
export function heldByCaller(manager: object, key: LockKey): HoldPart | undefined {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    const part = scope.manager === manager ? scope.hold.part(key) : undefined;
    if (part?.isOpen) return part;
  }
  return undefined;
}
