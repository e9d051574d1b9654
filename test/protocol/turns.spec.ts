import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  LockClosedError,
  LockStoreUnavailableError,
  type LossReason,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { TurnBounds } from '../../src/distributed-lock/store/queueing.lock-store.js';
import { busy, freed, gone, granted, Stage, unavailable } from './model/scripted-backend.js';
import { settle } from './model/virtual-time.js';

vi.mock('../../src/distributed-lock/distributed-lock.clock.js', async () => {
  const { clock } = await import('./model/virtual-time.js');
  return { now: clock.now };
});

let stage: Stage;
let uninstall: (() => void) | undefined;

function open(bounds?: TurnBounds): void {
  uninstall?.();
  stage = new Stage(bounds);
  uninstall = stage.time.install();
}

beforeEach(() => open());
afterEach(() => uninstall?.());

describe('a turn', () => {
  it('goes from caller to caller without a command, each with an owner id and a greater token of its own', async () => {
    const first = await stage.holder();
    const calls = [await stage.call(), await stage.call()];
    expect(await stage.store.release(first)).toBe('released');
    expect(await stage.store.release(calls[0]!.grant!)).toBe('released');
    const grants = [first, ...calls.map((call) => call.grant!)];
    expect(grants.map((grant) => grant.fencingToken)).toEqual([1_000n, 1_001n, 1_002n]);
    expect(new Set(grants.map((grant) => grant.owner)).size).toBe(3);
    expect(stage.backend.unanswered).toEqual([]);
  });

  it.each<[string, TurnBounds, number, number]>([
    ['maxGrants', { maxGrants: 3, maxTimeMs: 60_000 }, 0, 3],
    ['maxTimeMs', { maxGrants: 1_000, maxTimeMs: 50 }, 20, 3],
    ['the tokens it has', { maxGrants: 1_000, maxTimeMs: 60_000 }, 0, 4],
  ])('is bounded by %s', async (_name, bounds, workMs, served) => {
    open(bounds);
    const call = await stage.call();
    await stage.backend.next('take').answer(granted(1_000n, 4));
    let grant = call.grant!;
    const waiting = await Promise.all(Array.from({ length: 10 }, () => stage.call()));
    let grants = 1;
    for (const next of waiting) {
      await stage.time.advance(workMs);
      void stage.store.release(grant);
      await settle();
      if (!next.grant) break;
      expect(next.grant.fencingToken).toBe(1_000n + BigInt(grants));
      grant = next.grant;
      grants += 1;
    }
    expect(grants).toBe(served);
    expect(stage.backend.unanswered).toEqual(['pass']);
  });

  it('goes on with fresh tokens and a full lease if nobody else waits', async () => {
    open({ maxGrants: 1 });
    const grant = await stage.holder();
    const call = await stage.call();
    await stage.time.advance(10_000);
    const release = stage.store.release(grant);
    await settle();
    const { validUntil } = grant;
    await stage.backend
      .next('pass')
      .answer({ outcome: 'continues', tokens: { first: 5_000n, size: 1_000 } });
    expect(await release).toBe('released');
    expect(call.grant!.fencingToken).toBe(5_000n);
    expect(call.grant!.validUntil).toBe(validUntil + 10_000);
  });

  it('is renewed first if too little lease is left for the caller that is next', async () => {
    open({ maxTimeMs: 60_000 });
    const grant = await stage.holder(10_000);
    const next = await stage.call(60_000, 10_000);
    await stage.time.advance(1_100);
    const release = stage.store.release(grant);
    await settle();
    expect(next.isPending).toBe(true);
    await stage.backend.next('renew').answer([true]);
    expect(await release).toBe('released');
    expect(next.grant!.validUntil).toBe(1_100 + 10_000 - 100 - 2);
  });

  it('is renewed first for a caller that wants a longer lease', async () => {
    const grant = await stage.holder(1_000);
    const call = await stage.call(60_000, 60_000);
    void stage.store.release(grant);
    await settle();
    expect(stage.backend.next('renew').turn!.leaseTimeMs).toBe(60_000);
    await stage.backend.next('renew').answer([true]);
    expect(call.grant!.validUntil).toBe(60_000 - 600 - 2);
  });

  it('is given back if the caller it was renewed for has left, and a broken store is told later', async () => {
    const grant = await stage.holder(1_000);
    const abort = new AbortController();
    const call = await stage.call(60_000, 60_000, abort.signal);
    const release = stage.store.release(grant);
    await settle();
    abort.abort(new Error('gone'));
    await stage.backend.next('renew').answer([true]);
    expect(await release).toBe('released');
    await stage.backend.next('giveBack').fail();
    await stage.time.advance(50);
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
    expect(call.error).toEqual(new Error('gone'));
  });

  it('is over when its renewal is refused or comes too late; the waiters ask under a new owner id', async () => {
    for (const late of [false, true]) {
      open();
      const grant = await stage.holder(1_000);
      await stage.call(600_000, 60_000);
      void stage.store.release(grant);
      await settle();
      const renewal = stage.backend.next('renew');
      if (late) await stage.time.advance(60_000);
      await renewal.answer([late]);
      expect(stage.backend.unanswered).toEqual(['giveBack', 'take']);
      expect(stage.backend.sent.at(-2)!.owner).toBe('me:1');
      expect(stage.backend.sent.at(-1)!.owner).toBe('me:2');
    }
  });

  it('that is lost leaves the waiters to ask at once, under a new owner id', async () => {
    const grant = await stage.holder();
    const next = await stage.call();
    const reasons: LossReason[] = [];
    grant.onLost = (reason) => reasons.push(reason);
    const renewal = stage.store.renew([{ grant, leaseTimeMs: 30_000 }]);
    await settle();
    await stage.backend.next('renew').answer([false]);
    expect(await renewal).toEqual([false]);
    expect(reasons).toEqual(['taken-over']);
    expect(stage.backend.next('take')).toMatchObject({ owner: 'me:2' });
    await stage.backend.next('take').answer(granted(9_000n));
    expect(await stage.store.release(grant)).toBe('not-held');
    expect(next.grant!.fencingToken).toBe(9_000n);
  });

  it('that another process took over while it was passed on leaves the waiters to ask at once', async () => {
    open({ maxGrants: 1 });
    const grant = await stage.holder();
    await stage.call();
    const release = stage.store.release(grant);
    await settle();
    await stage.backend.next('pass').answer({ outcome: 'lost' });
    expect(await release).toBe('not-held');
    expect(stage.backend.next('take')).toMatchObject({ owner: 'me:2' });
  });

  it('that is passed on waits for its wake-up, and asks at once if that overtook the answer', async () => {
    for (const overtaken of [false, true]) {
      open({ maxGrants: 1 });
      const grant = await stage.holder();
      await stage.call();
      void stage.store.release(grant);
      await settle();
      if (overtaken) await stage.wake();
      await stage.backend.next('pass').answer({ outcome: 'passed', retryInMs: 5_000, since: '7' });
      expect(stage.backend.unanswered).toEqual(overtaken ? ['take'] : []);
      if (!overtaken) await stage.wake();
      expect(stage.backend.next('take').request).toMatchObject({ owner: 'me:2', since: '7' });
    }
  });

  it('that could not be passed on is given back before anything else is asked, under a new owner id', async () => {
    open({ maxGrants: 1 });
    const grant = await stage.holder();
    const next = await stage.call();
    const release = stage.store.release(grant);
    await settle();
    const failure = release.catch((error: unknown) => error);
    await stage.backend.next('pass').fail();
    expect(await failure).toBeInstanceOf(LockStoreUnavailableError);
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: true });
    await stage.backend.next('giveBack').answer(freed);
    await stage.wake();
    await stage.backend.next('take').answer(granted(7_000n));
    expect(stage.backend.sent.map(({ owner }) => owner)).toEqual(['me:1', 'me:1', 'me:1', 'me:2']);
    expect(next.grant!.fencingToken).toBe(7_000n);
  });
});

describe('an owner id', () => {
  it('is kept while a command is merely repeated: the answer is the same turn', async () => {
    const call = await stage.call();
    await stage.backend.next('take').fail();
    await stage.time.advance(100);
    await stage.backend.next('take').answer(granted());
    expect(stage.backend.sent.map(({ owner }) => owner)).toEqual(['me:1', 'me:1']);
    expect(call.grant).not.toBeNull();
  });

  it('is never used again once a give-back carried it', async () => {
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    await stage.backend.next('take').fail();
    abort.abort(new Error('gone'));
    await settle();
    const late = stage.backend.next('giveBack');
    expect(late.owner).toBe('me:1');
    const call = await stage.call();
    await late.fail();
    await stage.backend.next('take').answer(granted());
    expect(call.grant!.owner).toMatch(/^me:2\./);
    await stage.time.advance(50);
    expect(stage.backend.next('giveBack').owner, 'told again, long after').toBe('me:1');
  });

  it.each<[string, (() => Error) | null]>([
    ['was answered with busy', null],
    ['failed', unavailable],
  ])('is given back by a caller that leaves after its command %s', async (_name, error) => {
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    const take = stage.backend.next('take');
    await (error ? take.fail(error()) : take.answer(busy()));
    abort.abort(new Error('gone'));
    await settle();
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
  });

  it('of a try whose outcome is unknown is given back', async () => {
    const call = await stage.call(0);
    await stage.backend.next('take').fail();
    expect(call.error).toBeInstanceOf(LockStoreUnavailableError);
    expect(stage.backend.next('giveBack').owner).toBe('me:1');
  });
});

describe('a grant that arrives', () => {
  it('after its deadline is given back, never used; the waiters ask under a new owner id', async () => {
    const call = await stage.call(60_000, 1_000);
    const take = stage.backend.next('take');
    await stage.time.advance(988);
    await take.answer(granted());
    expect(call.isPending).toBe(true);
    expect(stage.backend.unanswered).toEqual(['giveBack', 'take']);
    expect(stage.backend.sent.map(({ owner }) => owner)).toEqual(['me:1', 'me:1', 'me:2']);
  });

  it('shortly before it is renewed before anybody has it', async () => {
    const call = await stage.call(60_000, 1_000);
    const take = stage.backend.next('take');
    await stage.time.advance(987);
    await take.answer(granted());
    expect(stage.backend.unanswered).toEqual(['renew']);
    await stage.backend.next('renew').answer([true]);
    expect(call.grant!.validUntil).toBe(2 * 987 + 1);
  });

  it('when everybody has left is given back', async () => {
    const call = await stage.call(100);
    await stage.time.advance(100);
    await stage.backend.next('take').answer(granted());
    expect(call.error).toBeInstanceOf(LockStoreUnavailableError);
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
  });
});

describe('a key that is busy by an owner of this process', () => {
  it('that is dead is healed: a stray copy of an old command took it', async () => {
    const grant = await stage.holder();
    const release = stage.store.release(grant);
    await stage.backend.next('giveBack').answer(freed);
    await release;
    const call = await stage.call();
    await stage.backend.next('take').answer(busy({ holder: 'me:1' }));
    expect(stage.backend.unanswered).toEqual(['giveBack', 'take']);
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: true });
    await stage.backend.next('giveBack').answer(freed);
    await stage.backend.next('take').answer(granted(8_000n));
    expect(call.grant!.fencingToken).toBe(8_000n);
  });

  it('that was abandoned stays closed until the server, not the holder, sees its lease end', async () => {
    const grant = await stage.holder(1_000);
    const { validUntil } = grant;
    stage.store.abandon(grant);
    await stage.call();
    await stage.backend.next('take').answer(busy({ holder: 'me:1' }));
    await stage.time.advance(validUntil + 1);
    await stage.wake();
    await stage.backend.next('take').answer(busy({ holder: 'me:1' }));
    expect(stage.backend.unanswered).toEqual([]);
    await stage.time.advance(20);
    await stage.wake();
    await stage.backend.next('take').answer(busy({ holder: 'me:1' }));
    expect(stage.backend.unanswered, 'by now a stray copy').toEqual(['giveBack', 'take']);
  });

  it.each(['you:1', 'me', 'mean:1', ''])('does not touch the key of "%s"', async (holder) => {
    await stage.call();
    await stage.backend.next('take').answer(busy({ holder }));
    expect(stage.backend.unanswered).toEqual([]);
  });
});

describe('a give-back that the backend has not heard', () => {
  it('is repeated after 50 ms, 100, 200, … and at once when the backend is back', async () => {
    const grant = await stage.holder();
    const release = stage.store.release(grant);
    const failure = release.catch((error: unknown) => error);
    await stage.backend.next('giveBack').fail();
    expect(await failure).toBeInstanceOf(LockStoreUnavailableError);
    for (const pause of [50, 100, 200]) {
      await stage.backend.next('giveBack').fail();
      await stage.time.advance(pause - 1);
      expect(stage.backend.unanswered).toEqual([]);
      await stage.time.advance(1);
    }
    await stage.backend.next('giveBack').fail();
    stage.backend.listener.ready();
    await settle();
    await stage.backend.next('giveBack').answer(gone);
    await stage.time.advance(60_000);
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('says at every attempt whether callers wait now', async () => {
    const grant = await stage.holder();
    stage.store.release(grant).catch(() => undefined); // repeated in the background: the subject of this test
    await stage.backend.next('giveBack').fail();
    expect(stage.backend.next('giveBack').more).toBe(false);
    await stage.backend.next('giveBack').fail();
    await stage.call();
    await stage.time.advance(50);
    expect(stage.backend.sent.at(-1)).toMatchObject({
      name: 'giveBack',
      owner: 'me:1',
      more: true,
    });
  });

  it('is given up one day', async () => {
    const grant = await stage.holder();
    stage.store.release(grant).catch(() => undefined); // repeated in the background: the subject of this test
    await stage.backend.next('giveBack').fail();
    let attempts = 0;
    for (; stage.backend.unanswered.length > 0; attempts += 1) {
      await stage.backend.next('giveBack').fail();
      await stage.time.advance(5_000);
    }
    expect(attempts).toBe(24);
  });
});

describe('a store that was closed and opened again', () => {
  it('repeats give-backs as before', async () => {
    await stage.store.close();
    await stage.store.open('model', 1_000);
    const grant = await stage.holder();
    stage.store.release(grant).catch(() => undefined); // repeated in the background: the subject of this test
    await stage.backend.next('giveBack').fail();
    await stage.backend.next('giveBack').fail();
    await stage.time.advance(50);
    expect(stage.backend.unanswered).toEqual(['giveBack']);
  });
});

describe('closing', () => {
  it('gives back what a call under way still brings, before the connection goes', async () => {
    const call = await stage.call();
    const close = stage.store.close();
    await settle();
    expect(call.error).toBeInstanceOf(LockClosedError);
    expect(stage.backend.closed).toBe(false);
    await stage.backend.next('take').answer(granted());
    expect(stage.backend.next('giveBack').owner).toBe('me:1');
    expect(stage.backend.closed).toBe(false);
    await stage.backend.next('giveBack').answer(freed);
    await close;
    expect(stage.backend.closed).toBe(true);
  });

  it('takes the process out of the queue', async () => {
    await stage.call();
    await stage.backend.next('take').answer(busy());
    const close = stage.store.close();
    await settle();
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
    await stage.backend.next('giveBack').answer(gone);
    await close;
  });

  it('does not wait for a backend that does not hear', async () => {
    const grant = await stage.holder();
    const close = stage.store.close();
    await settle();
    await stage.backend.next('giveBack').fail();
    await close;
    expect(await stage.store.release(grant)).toBe('not-held');
    await stage.time.advance(60_000);
    expect(stage.backend.unanswered).toEqual([]);
  });
});
