import type { LockKey } from '../../key/lock-key.js';
import type { KeyState } from '../lock-store.js';
import type { TurnRef } from '../turn-backend.js';
import { KEPT, type TableRows } from './table.rows.js';
import { tokensOf } from './table.tokens.js';

/** Who has a row. A row has a mark that somebody waits, and does not say how many. */
export async function stateOf(rows: TableRows, key: LockKey): Promise<KeyState> {
  const held = await rows.held(key);
  if (!held) return { holders: [], waiters: null, keptForMs: null };
  const { owner, turn, leftMs } = held;
  if (owner === KEPT) return { holders: [], waiters: null, keptForMs: leftMs };
  const fencingToken = tokensOf(turn).first;
  const holder = { owner, mode: 'exclusive', fencingToken, leaseLeftMs: leftMs } as const;
  return { holders: [holder], waiters: null, keptForMs: null };
}

/** Ends the turn that a row is in, or opens it. A turn that begins meanwhile is not the one that was meant. */
export async function endHolds(rows: TableRows, key: LockKey): Promise<readonly TurnRef[]> {
  const { owner } = (await rows.held(key)) ?? { owner: null };
  if (owner === null || !(await rows.release(key, owner, false))) return [];
  return owner === KEPT ? [] : [{ key, owner }];
}
