import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LockGrant } from '../../src/distributed-lock/store/lock-store.js';
import { usableLease } from '../../src/distributed-lock/store/turn.js';
import { busy, type Call, freed, granted, gone, Stage } from './model/scripted-backend.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('./model/virtual-time.js');
  return { now: clock.now };
});

const LATEST = { first: 7_000n, size: 1_000 };
const OFFER = { owner: 'me:8', tokens: { first: 8_000n, size: 1_000 }, keptMs: 3_000 };
const CONFIRMED = granted(8_000n);

let stage: Stage;
let uninstall: () => void;

beforeEach(() => {
  stage = new Stage();
  uninstall = stage.time.install();
});
afterEach(() => uninstall());

/** Callers that wait behind another process, told so 1 ms after they asked. */
async function waiting(callers = 1, latest: typeof LATEST | null = LATEST): Promise<Call[]> {
  const calls: Call[] = [];
  for (let n = 0; n < callers; n += 1) calls.push(await stage.call());
  await stage.time.advance(1);
  await stage.backend.next('take').answer(busy({ latest, holder: 'other:1', since: '1' }));
  return calls;
}

/** The caller that is inside, on an offer. */
async function inside(callers = 1): Promise<{ grant: LockGrant; calls: Call[] }> {
  const calls = await waiting(callers);
  await stage.wake(OFFER);
  return { grant: calls[0]!.grant!, calls };
}

describe('a turn that is offered', () => {
  it('begins at once, and is confirmed meanwhile under its owner id, with the lease that was asked for', async () => {
    const { grant } = await inside();
    expect([grant.owner, grant.fencingToken]).toEqual(['me:8.1', 8_000n]);
    expect(stage.backend.unanswered).toEqual(['take']);
    expect(stage.backend.next('take').request).toMatchObject({
      owner: 'me:8',
      leaseTimeMs: 30_000,
      wait: true,
      more: false,
    });
  });

  it('counts from when the process asked, not from when the message came; confirmed, from when that was asked', async () => {
    const [call] = await waiting();
    await stage.time.advance(100);
    await stage.wake(OFFER);
    expect(call!.grant!.validUntil).toBe(usableLease(3_000));
    const sentAt = stage.time.now;
    await stage.time.advance(5);
    await stage.backend.next('take').answer(CONFIRMED);
    expect(call!.grant!.validUntil).toBe(sentAt + usableLease(30_000));
  });

  it('goes from caller to caller before it is confirmed', async () => {
    const { grant, calls } = await inside(2);
    expect(stage.backend.next('take').request).toMatchObject({ more: true });
    void stage.store.release(grant);
    await stage.time.advance(0);
    expect(calls[1]!.grant!.fencingToken).toBe(8_001n);
    expect(stage.backend.unanswered).toEqual(['take']);
  });

  it('is given back under its owner id, behind the confirmation', async () => {
    const { grant } = await inside();
    void stage.store.release(grant);
    await stage.backend.next('take').answer(CONFIRMED);
    expect(stage.backend.next('giveBack').owner).toBe('me:8');
  });

  it('is followed by an owner id that was never used', async () => {
    const { grant } = await inside();
    await stage.backend.next('take').answer(CONFIRMED);
    void stage.store.release(grant);
    await stage.backend.next('giveBack').answer(freed);
    await stage.call();
    expect(stage.backend.next('take').owner).toBe('me:2');
  });
});

describe('an offer is not begun but asked for', () => {
  it.each([
    ['was made before the process was told to wait', LATEST, { ...OFFER, tokens: LATEST }],
    ['may have been: the backend does not know its last turn', null, OFFER],
  ])('if it %s', async (_name, latest, offer) => {
    const [call] = await waiting(1, latest);
    await stage.wake(offer);
    expect(call!.isPending).toBe(true);
    expect(stage.backend.next('take').owner).toBe('me:1');
  });

  it('if less than half of its time may be left', async () => {
    const [call] = await waiting();
    await stage.time.advance(usableLease(3_000) - 1_500);
    await stage.wake(OFFER);
    expect(call!.isPending).toBe(true);
    expect(stage.backend.next('take').owner).toBe('me:1');
  });

  it('control: begins where half of it is left', async () => {
    const [call] = await waiting();
    await stage.time.advance(usableLease(3_000) - 1_500 - 1);
    await stage.wake(OFFER);
    expect(call!.isPending).toBe(false);
  });

  it('if the process has asked again since: that may have had any outcome', async () => {
    const [call] = await waiting();
    await stage.wake();
    await stage.backend.next('take').fail();
    await stage.wake(OFFER);
    expect(call!.isPending).toBe(true);
  });
});

describe('an offer that overtakes the answer of a question', () => {
  async function overtaken(latest: typeof LATEST): Promise<Call> {
    const call = await stage.call();
    await stage.wake(OFFER);
    expect(call.isPending).toBe(true);
    await stage.backend.next('take').answer(busy({ latest, since: '1' }));
    return call;
  }

  it('is begun when the answer shows that it was made later', async () => {
    expect((await overtaken(LATEST)).grant!.fencingToken).toBe(8_000n);
  });

  it('is asked for when it was made before', async () => {
    expect((await overtaken(OFFER.tokens)).isPending).toBe(true);
    expect(stage.backend.unanswered).toEqual(['take']);
  });

  it('is given back, as the question is, when all callers have left meanwhile', async () => {
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    await stage.wake(OFFER);
    abort.abort(new Error('left'));
    await stage.backend.next('take').answer(busy({ latest: LATEST, since: '1' }));
    expect(stage.backend.sent.slice(1).map(({ name, owner }) => [name, owner])).toEqual([
      ['giveBack', 'me:1'],
      ['giveBack', 'me:8'],
    ]);
  });
});

describe('a confirmation', () => {
  it.each([
    ['another process has the key', busy({ latest: LATEST, holder: 'other:2' })],
    ['the turn is another one: the offer was over', granted(9_000n)],
  ])('that says that %s ends the hold, and gives the owner id back', async (_name, answer) => {
    const { grant } = await inside();
    const reasons: string[] = [];
    grant.onLost = (reason) => reasons.push(reason);
    await stage.backend.next('take').answer(answer);
    expect(reasons).toEqual(['taken-over']);
    expect(stage.backend.next('giveBack').owner).toBe('me:8');
    expect(await stage.store.release(grant)).toBe('not-held');
  });

  it('is repeated while a caller is inside, until it is answered', async () => {
    const { grant } = await inside();
    for (const _time of [1, 2]) {
      await stage.backend.next('take').fail();
      expect(stage.backend.unanswered).toEqual([]);
      await stage.time.advance(50);
      expect(stage.backend.next('take').owner).toBe('me:8');
    }
    const sentAt = stage.time.now;
    await stage.backend.next('take').answer(CONFIRMED);
    expect(grant.validUntil).toBe(sentAt + usableLease(30_000));
  });

  it('is not repeated once the owner id was given back: it would take the key for nobody', async () => {
    const { grant } = await inside();
    await stage.backend.next('take').fail();
    void stage.store.release(grant);
    await stage.backend.next('giveBack').answer(freed);
    await stage.time.advance(1_000);
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('that never comes leaves the hold until what is left of the offer is over', async () => {
    const { grant } = await inside();
    for (let n = 0; n < 100 && stage.time.now < 3_000; n += 1) {
      if (stage.backend.unanswered.length > 0) await stage.backend.next('take').fail();
      await stage.time.advance(50);
    }
    expect(grant.validUntil).toBe(usableLease(3_000));
    expect(await stage.store.release(grant), 'and then it is over').toBe('not-held');
  });
});

/** A caller has queued the process, and has left. */
async function left(): Promise<void> {
  const abort = new AbortController();
  await stage.call(60_000, 30_000, abort.signal);
  await stage.backend.next('take').answer(busy({ latest: LATEST, since: '1' }));
  abort.abort(new Error('left'));
}

describe('a process that has not heard of its offer', () => {
  it('is told when it asks, and asks under the owner id of the offer', async () => {
    const [call] = await waiting();
    await stage.wake();
    await stage.backend.next('take').answer(busy({ offered: true, holder: 'me:8' }));
    expect(stage.backend.next('take').owner).toBe('me:8');
    await stage.backend.next('take').answer(CONFIRMED);
    expect(call!.grant!.validUntil).toBeGreaterThan(29_000);
  });

  it('control: one that had begun it, and could not confirm it or give it back, does not begin it again', async () => {
    const { grant } = await inside();
    await stage.backend.next('take').fail();
    void stage.store.release(grant).catch(() => undefined);
    await stage.backend.next('giveBack').fail();
    await stage.backend.next('giveBack').fail();
    await stage.call();
    await stage.backend.next('take').answer(busy({ offered: true, holder: 'me:8' }));
    expect(stage.backend.next('giveBack').owner).toBe('me:8');
    await stage.backend.next('giveBack').answer(freed);
    expect(stage.backend.next('take').owner).toBe('me:2');
  });

  it('is told when it leaves, and gives it back', async () => {
    await left();
    await stage.backend.next('giveBack').answer({ ...gone, offered: 'me:8' });
    expect(stage.backend.next('giveBack').owner).toBe('me:8');
  });

  it('leaves it alone if callers have come since: they are told when they ask', async () => {
    await left();
    await stage.call();
    await stage.backend.next('giveBack').answer({ ...gone, offered: 'me:8' });
    expect(stage.backend.unanswered).toEqual(['take']);
  });
});

it('an offer that nobody wants is given back under its owner id', async () => {
  await stage.wake(OFFER);
  expect(stage.backend.next('giveBack').owner).toBe('me:8');
});
