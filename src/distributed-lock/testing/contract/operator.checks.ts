import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../distributed-lock.clock.js';
import type { LossReason } from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type {
  AcquireRequest,
  Holder,
  LockGrant,
  LockStore,
  StoreTraits,
} from '../../store/lock-store.js';
import { atLeast, atMost, isGreater } from './assertions.js';
import { freshKey, take } from './clause.js';

export const LEASE_MS = 10_000;
/** Longer than any clause: who is let in before that was let in by force. */
export const LONG: Partial<AcquireRequest> = { leaseTimeMs: 60_000, waitTimeMs: 20_000 };

/** What a holder was told. */
export function lossOf(grant: LockGrant): { reason: LossReason | undefined } {
  const loss: { reason: LossReason | undefined } = { reason: undefined };
  grant.onLost = (reason) => (loss.reason = reason);
  return loss;
}

/** Renews, as a holder does, until it is told that it does not hold; fails if it is not. */
export async function untilTold(
  store: LockStore,
  grant: LockGrant,
  loss: { readonly reason: LossReason | undefined },
): Promise<void> {
  const end = now() + 10_000;
  while (loss.reason === undefined && now() < end) {
    // A session that has ended is opened anew at this moment: then nothing is known.
    await store.renew([{ grant, leaseTimeMs: LEASE_MS }]).catch(() => undefined);
    await pause(2);
  }
  match(loss.reason ?? 'nothing', /^(taken-over|session-ended)$/, 'what the holder was told');
}

export async function holdersOf(store: LockStore, key: LockKey): Promise<readonly Holder[]> {
  return (await store.stateOf!(key)).holders;
}

/** Whether a holder that is shown is that of the grant. */
export function shows(holder: Holder, grant: LockGrant, traits: StoreTraits): void {
  equal(holder.mode, 'exclusive');
  if (traits.ownership === 'session') equal(holder.leaseLeftMs, null);
  else {
    atLeast(holder.leaseLeftMs!, 1, 'ms left of the lease');
    atMost(holder.leaseLeftMs!, LEASE_MS, 'ms left of the lease');
  }
  if (traits.showsHolders !== 'owner-and-token') return;
  ok(
    grant.owner === holder.owner || grant.owner.startsWith(`${holder.owner}.`),
    `owner ${holder.owner} is shown for ${grant.owner}`,
  );
  if (grant.fencingToken === null) equal(holder.fencingToken, null);
  else isGreater(grant.fencingToken, holder.fencingToken! - 1n);
}

/** Ends the hold of one store while another one waits, and fails where anything is left of it. */
export async function endWhileWaiting(
  [evicted, waiting, operator]: readonly LockStore[],
  old: Partial<AcquireRequest>,
  next: Partial<AcquireRequest>,
): Promise<void> {
  const key = freshKey();
  const first = await take(evicted!, key, { ...LONG, ...old });
  const loss = lossOf(first);
  const entering = take(waiting!, key, { ...LONG, ...next });
  equal(await operator!.forceRelease!(key), 1, 'holds ended');
  const second = await entering;
  if (second.fencingToken !== null && first.fencingToken !== null)
    isGreater(second.fencingToken, first.fencingToken);
  await untilTold(evicted!, first, loss);
  equal(await evicted!.release(first), 'not-held');
  deepEqual(await waiting!.renew([{ grant: second, leaseTimeMs: LEASE_MS }]), [true], 'untouched');
  equal(await waiting!.release(second), 'released');
}
