import { LockConfigurationError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { KeyState, LockGrant, LockStore } from './lock-store.js';
import type { TurnBackend, TurnRef } from './turn-backend.js';

/** What an operator does about a key, by way of a backend of turns: looks, and ends holds. */
export async function keyState(
  backend: TurnBackend,
  key: LockKey,
  waitingHere: number,
): Promise<KeyState> {
  if (!backend.stateOf) throw lacks(backend, key, 'stateOf');
  const state = await backend.stateOf(key);
  const { waiters } = state;
  return { ...state, waiters: waiters === null ? null : waiters + waitingHere };
}

/** @returns the holds that were ended. */
export async function endHolds(backend: TurnBackend, key: LockKey): Promise<readonly TurnRef[]> {
  if (!backend.forceRelease) throw lacks(backend, key, 'forceRelease');
  const ended = await backend.forceRelease(key);
  // What the backend answered before may just be on its way to its caller here: a turn that began then is one of those that have ended.
  await new Promise((resolve) => setImmediate(resolve));
  return ended;
}

/** Never shortens a lease: the question alone counts. */
const LOOK_MS = 1;

/** Asks the store about a hold that may have been ended: it is told if so. Where the store cannot say, the next renewal does. */
export async function lookAt(
  store: Pick<LockStore, 'renew'>,
  grant: LockGrant | null,
): Promise<void> {
  if (grant) await store.renew([{ grant, leaseTimeMs: LOOK_MS }]).catch(() => undefined);
}

function lacks(
  { traits }: TurnBackend,
  key: LockKey,
  method: 'stateOf' | 'forceRelease',
): LockConfigurationError {
  return new LockConfigurationError(
    `The store "${traits.name}" has no ${method}(): its trait is ${JSON.stringify(traits[method === 'stateOf' ? 'showsHolders' : method])}.`,
    { key },
  );
}
