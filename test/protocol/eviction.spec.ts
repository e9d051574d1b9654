import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  LockConfigurationError,
  type LossReason,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant } from '../../src/distributed-lock/store/lock-store.js';
import type { TurnRef } from '../../src/distributed-lock/store/turn-backend.js';
import { gone, granted, Stage, unavailable } from './model/scripted-backend.js';
import { KEY } from './model/model-server.js';
import { settle } from './model/virtual-time.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('./model/virtual-time.js');
  return { now: clock.now };
});

let stage: Stage;
let uninstall: () => void;

beforeEach(() => {
  stage = new Stage();
  uninstall = stage.time.install();
});
afterEach(() => uninstall());

/** The turn that a grant is a part of. */
const turnOf = ({ owner }: LockGrant): TurnRef => ({
  key: KEY,
  owner: owner.slice(0, owner.lastIndexOf('.')),
});

async function tell(turn: TurnRef): Promise<void> {
  stage.backend.listener.evicted(turn);
  await settle();
}

function lossesOf(grant: LockGrant): LossReason[] {
  const losses: LossReason[] = [];
  grant.onLost = (reason) => losses.push(reason);
  return losses;
}

describe('a message that a turn was ended by force', () => {
  it('is a question to the backend; the holder is told what it answers, and the next caller asks under another owner id', async () => {
    const grant = await stage.holder();
    const losses = lossesOf(grant);
    const next = await stage.call();
    await tell(turnOf(grant));
    expect(losses, 'not yet').toEqual([]);
    expect(stage.backend.next('renew').turn!.leaseTimeMs, 'shortens nothing').toBe(1);
    await stage.backend.next('renew').answer([false]);
    expect(losses).toEqual(['taken-over']);
    expect(await stage.store.release(grant)).toBe('not-held');
    const take = stage.backend.next('take');
    expect(take.owner).not.toBe(turnOf(grant).owner);
    await take.answer(granted(9_000n));
    expect(next.grant!.fencingToken).toBe(9_000n);
    expect(stage.backend.unanswered, 'nothing is given back').toEqual([]);
  });

  it('ends nothing where the backend still honours the turn', async () => {
    const grant = await stage.holder();
    const losses = lossesOf(grant);
    const { validUntil } = grant;
    await tell(turnOf(grant));
    await stage.backend.next('renew').answer([true]);
    expect(losses).toEqual([]);
    expect(grant.validUntil).toBe(validUntil);
  });

  it('ends nothing where the backend cannot answer: the next renewal tells', async () => {
    const grant = await stage.holder();
    const losses = lossesOf(grant);
    await tell(turnOf(grant));
    await stage.backend.next('renew').fail(unavailable());
    expect(losses).toEqual([]);
  });

  it('about a turn that is over, or another one, asks nothing', async () => {
    const grant = await stage.holder();
    await tell({ key: KEY, owner: 'me:77' });
    expect(stage.backend.unanswered).toEqual([]);
    const releasing = stage.store.release(grant);
    await stage.backend.next('giveBack').answer(gone);
    expect(await releasing).toBe('not-held');
    await tell(turnOf(grant));
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('finds the caller that has the turn now, not the one that had it', async () => {
    const first = await stage.holder();
    const second = await stage.call();
    await stage.store.release(first);
    const losses = lossesOf(second.grant!);
    await tell(turnOf(first));
    await stage.backend.next('renew').answer([false]);
    expect(losses).toEqual(['taken-over']);
  });
});

describe('a backend that cannot be asked', () => {
  it('is named, with its trait', async () => {
    for (const asked of [stage.store.stateOf(KEY), stage.store.forceRelease(KEY)]) {
      await expect(asked).rejects.toBeInstanceOf(LockConfigurationError);
      await expect(asked).rejects.toThrow(/The store "model" has no \w+\(\): its trait is "none"/);
    }
  });
});
