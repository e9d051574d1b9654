import type { LockKey } from '../../key/lock-key.js';
import type { Holder, KeyState } from '../lock-store.js';
import type { TurnRef } from '../turn-backend.js';
import type { Entry, MemoryWorld, Waiting } from './memory.world.js';

/** @param own the place of the store that asks: it knows its callers itself. */
export function stateOf(world: MemoryWorld, key: LockKey, own: Waiting | undefined): KeyState {
  const entry = world.live(key);
  const holders = entry ? holdersOf(entry) : [];
  const isKept = entry !== undefined && holders.length === 0 && entry.reservedFor === null;
  return {
    holders,
    waiters: world.waitingFor(key).filter((waiting) => waiting !== own).length,
    keptForMs: isKept ? leftMs(entry.expiresAtMs) : null,
  };
}

/** Ends every hold of a key and lets in whoever goes next. One that is reserved for a store is about to be held: it stays so. */
export function endHolds(world: MemoryWorld, key: LockKey): readonly TurnRef[] {
  const entry = world.live(key);
  if (!entry || entry.reservedFor) return [];
  const ended = holdersOf(entry).map(({ owner }) => ({ key, owner }));
  world.free(key);
  world.admit(key, true);
  for (const hold of ended) for (const tell of world.whenEvicted) tell(hold);
  return ended;
}

function holdersOf({ owner, token, together, expiresAtMs }: Entry): readonly Holder[] {
  if (together) {
    const { mode, until } = together;
    return [...until].map(([holder, end]) => ({
      owner: holder,
      mode,
      fencingToken: null,
      leaseLeftMs: leftMs(end),
    }));
  }
  if (owner === '') return [];
  const leaseLeftMs = leftMs(expiresAtMs);
  return [{ owner, mode: 'exclusive', fencingToken: token, leaseLeftMs }];
}

const leftMs = (until: number): number => Math.max(until - performance.now(), 0);
