import { LockConfigurationError } from './distributed-lock.errors.js';
import { lockKey, type LockKey } from './key/lock-key.js';
import type { KeyState, LockStore } from './store/lock-store.js';

/** A lock at one moment, as {@link DistributedLockService.stateOf} sees it. It may be over by the time it is read. */
export interface LockState extends KeyState {
  readonly key: string;
  readonly isHeld: boolean;
}

/** What an operator may ask of a store: the method, and the trait that says what it does. */
type Demand =
  | { readonly method: 'stateOf'; readonly trait: 'showsHolders' }
  | { readonly method: 'forceRelease'; readonly trait: 'forceRelease' };

/** The stores that can do it, for messages. */
export const OPERATED_BY: Readonly<Record<Demand['trait'], readonly string[]>> = {
  showsHolders: ['memory', 'redis', 'zookeeper', 'postgres', 'mysql', 'table'],
  forceRelease: ['memory', 'redis', 'zookeeper', 'postgres', 'mysql', 'table'],
};

/**
 * @throws {LockKeyError} for what is no key.
 * @throws {LockConfigurationError} if the store cannot, naming it and those that can.
 */
export async function lockState(store: LockStore, text: unknown): Promise<LockState> {
  const key = lockKey(text);
  demand(store, key, { method: 'stateOf', trait: 'showsHolders' });
  const state = await store.stateOf!(key);
  return { key, isHeld: state.holders.length > 0, ...state };
}

/** @throws as {@link lockState}. */
export async function forceReleaseLock(store: LockStore, text: unknown): Promise<number> {
  const key = lockKey(text);
  demand(store, key, { method: 'forceRelease', trait: 'forceRelease' });
  return store.forceRelease!(key);
}

function demand(store: LockStore, key: LockKey, { method, trait }: Demand): void {
  const { traits } = store;
  if (traits[trait] !== 'none') {
    if (store[method]) return;
    throw new LockConfigurationError(
      `The store "${traits.name}" has no ${method}(), though its trait "${trait}" is "${traits[trait]}"; allowed: "none", or a store that has it.`,
      { key },
    );
  }
  const others = OPERATED_BY[trait].map((name) => `${name}Store`).join(', ');
  throw new LockConfigurationError(
    `DistributedLockService.${method}: the store "${traits.name}" cannot do that (its trait "${trait}" is "none"); allowed: another store, such as ${others}.`,
    { key },
  );
}
