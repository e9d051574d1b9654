import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockLostError,
  LockNotHeldError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import { memoryStore } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { until } from '../support/until.js';
import { failureOf, Managed } from './managed.js';
import { ScriptedStore } from './scripted.lock-store.js';

/** Nothing else runs in this process meanwhile: no timer, no promise. */
function blockEventLoop(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('a hold whose event loop was blocked past its lease', () => {
  it('is not held any more, before any timer has run', async () => {
    const locks = new Managed(memoryStore());
    const hold = await locks.enter('k', { leaseTimeMs: 100 });
    const { lost } = hold;
    let timerRan = false;
    setTimeout(() => (timerRan = true), 0);
    blockEventLoop(120);
    expect(hold.isHeld()).toBe(false);
    expect(() => hold.assertHeld()).toThrow(LockLostError);
    expect(timerRan).toBe(false);
    expect(lost.aborted).toBe(true);
    expect(lost.reason).toMatchObject({ code: 'LOCK_LOST', reason: 'expired', key: 'k' });
    expect(await hold.release()).toBe('not-held');
    expect(locks.types).toEqual(['acquired', 'lost']);
  });

  it('learns it from assertHeld alone, too', async () => {
    const hold = await new Managed(memoryStore()).enter('k', { leaseTimeMs: 100 });
    blockEventLoop(120);
    expect(() => hold.assertHeld()).toThrow(expect.objectContaining({ reason: 'expired' }));
  });

  it('control: a block within the lease costs nothing', async () => {
    const hold = await new Managed(memoryStore()).enter('k', { leaseTimeMs: 10_000 });
    blockEventLoop(120);
    expect(hold.isHeld()).toBe(true);
    expect(await hold.release()).toBe('released');
  });
});

describe('a hold', () => {
  let locks: Managed<ScriptedStore>;
  beforeEach(() => {
    locks = new Managed(new ScriptedStore());
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is lost once: one event, one abort, with the first reason', async () => {
    const hold = await locks.enter('k');
    const reasons: unknown[] = [];
    hold.lost.addEventListener('abort', () => reasons.push(hold.lost.reason));
    const tell = locks.store.grants[0]!.onLost!;
    tell('session-ended');
    tell('expired');
    expect(reasons).toEqual([expect.objectContaining({ reason: 'session-ended' })]);
    expect(hold.lost.reason).toBeInstanceOf(LockLostError);
    expect(locks.types).toEqual(['acquired', 'lost']);
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
    expect(locks.store.grants[0]!.onLost).toBeNull();
  });

  it('tells of its loss, also to those who look at the signal afterwards', async () => {
    const hold = await locks.enter('k');
    locks.store.grants[0]!.onLost!('taken-over');
    expect(hold.lost.aborted).toBe(true);
    expect(hold.lost.reason).toMatchObject({ reason: 'taken-over' });
    expect(hold.lost).toBe(hold.lost);
  });

  it('that was released is not lost', async () => {
    const hold = await locks.enter('k');
    await hold.release();
    expect(hold.lost.aborted).toBe(false);
    expect(hold.isHeld()).toBe(false);
    expect(() => hold.assertHeld()).toThrow(LockNotHeldError);
    expect(() => hold.assertNotLost()).not.toThrow();
    await expect(hold.renew()).rejects.toBeInstanceOf(LockNotHeldError);
  });

  it('is released once: a second release answers not-held and asks nobody', async () => {
    const hold = await locks.enter('k');
    const answers = await Promise.all([hold.release(), hold.release()]);
    expect([...answers, await hold.release()]).toEqual(['released', 'not-held', 'not-held']);
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('answers not-held when the store knew it was gone', async () => {
    locks.store.answerRelease = async () => 'not-held';
    const hold = await locks.enter('k');
    expect(await hold.release()).toBe('not-held');
    expect(locks.happened.at(-1)).toMatchObject({ type: 'released', result: 'not-held' });
  });

  it('says that it could not be released to those who asked, and to listeners', async () => {
    const error = new LockStoreUnavailableError('scripted', 'k', 'down');
    locks.store.answerRelease = () => Promise.reject(error);
    const hold = await locks.enter('k');
    await expect(hold.release()).rejects.toBe(error);
    expect(locks.happened.at(-1)).toMatchObject({ type: 'release-failed', key: 'k', error });
    expect(await hold.release(), 'the store goes on by itself').toBe('not-held');
  });

  it.each(['dispose', 'end'] as const)('never throws on its %s', async (way) => {
    locks.store.answerRelease = () =>
      Promise.reject(new LockStoreUnavailableError('scripted', 'k', 'down'));
    const hold = await locks.enter('k');
    await (way === 'end' ? hold.end() : hold[Symbol.asyncDispose]());
    expect(locks.types).toEqual(['acquired', 'release-failed']);
    await (way === 'end' ? hold.end() : hold[Symbol.asyncDispose]());
    expect(locks.types).toEqual(['acquired', 'release-failed']);
  });

  it('is given back by "await using", also when the block throws', async () => {
    const boom = new Error('boom');
    const block = async () => {
      await using hold = await locks.enter('k');
      expect(hold.isHeld()).toBe(true);
      throw boom;
    };
    await expect(block()).rejects.toBe(boom);
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
  });

  it('that is abandoned is not released, and not lost', async () => {
    const hold = await locks.enter('k');
    hold.abandon();
    await hold.end();
    expect(locks.store.asked).toEqual(['acquire k', 'abandon k']);
    expect(hold.isHeld()).toBe(false);
    expect(locks.types).toEqual(['acquired']);
  });

  it('carries what the store granted', async () => {
    const hold = await locks.enter('k');
    expect(hold).toMatchObject({ key: 'k', keys: ['k'], owner: 'owner-1', fencingToken: 1n });
    expect(hold.fencingTokens).toEqual(new Map([['k', 1n]]));
  });

  it('with renew: false ends with its lease, even where the store would go on', async () => {
    vi.useFakeTimers();
    const hold = await locks.enter('k', { leaseTimeMs: 300, renew: false });
    locks.store.grants[0]!.validUntil += 60_000; // the turn of the process, which others share, was renewed
    await vi.advanceTimersByTimeAsync(299);
    expect(hold.isHeld()).toBe(true);
    await vi.advanceTimersByTimeAsync(2);
    expect(hold.isHeld()).toBe(false);
    expect(hold.lost.reason).toMatchObject({ reason: 'expired' });
    expect(locks.store.renewals).toEqual([]);
  });
});

describe('hold.renew()', () => {
  let locks: Managed<ScriptedStore>;
  beforeEach(() => {
    vi.useFakeTimers();
    locks = new Managed(new ScriptedStore());
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([
    ['10s', 10_000],
    [250, 250],
    [undefined, 3_000],
  ])('renew(%j) asks for %d ms from now', async (given, leaseTimeMs) => {
    const hold = await locks.enter('k');
    const asked: number[] = [];
    locks.store.answerRenewal = async (renewals) => {
      asked.push(...renewals.map((it) => it.leaseTimeMs));
      return locks.store.confirm(renewals);
    };
    await (given === undefined ? hold.renew() : hold.renew(given));
    expect(asked).toEqual([leaseTimeMs]);
  });

  it('never shortens a hard limit', async () => {
    const hold = await locks.enter('k', { leaseTimeMs: 30_000, renew: false });
    await hold.renew('10s');
    await vi.advanceTimersByTimeAsync(29_990);
    expect(hold.isHeld()).toBe(true);
    await hold.renew('10s');
    await vi.advanceTimersByTimeAsync(9_900);
    expect(hold.isHeld(), 'made longer by hand').toBe(true);
    await vi.advanceTimersByTimeAsync(200);
    expect(hold.isHeld()).toBe(false);
  });

  it('never shortens a lease of the memory store', async () => {
    const hold = await new Managed(memoryStore()).enter('k', { leaseTimeMs: 30_000, renew: false });
    await hold.renew('100ms');
    await vi.advanceTimersByTimeAsync(20_000);
    expect(hold.isHeld()).toBe(true);
  });

  it('that the store refuses loses the hold', async () => {
    const hold = await locks.enter('k');
    locks.store.answerRenewal = async () => [false];
    await expect(hold.renew()).rejects.toMatchObject({ code: 'LOCK_LOST', reason: 'taken-over' });
    expect(hold.isHeld()).toBe(false);
  });

  it('that the store cannot answer leaves the hold to its deadline', async () => {
    const error = new LockStoreUnavailableError('scripted', null, 'down');
    const hold = await locks.enter('k');
    locks.store.answerRenewal = () => Promise.reject(error);
    await expect(hold.renew()).rejects.toBe(error);
    expect(hold.isHeld()).toBe(true);
  });

  it('says so when the hold was released meanwhile', async () => {
    const hold = await locks.enter('k');
    const renewed = hold.renew();
    const released = hold.release();
    await expect(renewed).rejects.toBeInstanceOf(LockNotHeldError);
    expect(await released).toBe('released');
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('says so when the lease ended before the answer came', async () => {
    const hold = await locks.enter('k', { renew: false });
    locks.store.answerRenewal = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      return [true];
    };
    const failure = failureOf(hold.renew());
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await failure).toMatchObject({ reason: 'expired' });
  });

  it.each(['soon', -1, 0, Number.NaN])('refuses %j and goes on', async (given) => {
    const hold = await locks.enter('k');
    await expect(hold.renew(given)).rejects.toBeInstanceOf(LockConfigurationError);
    expect(hold.isHeld()).toBe(true);
  });
});

describe('the clock of a hold', () => {
  let locks: Managed<ScriptedStore>;
  beforeEach(() => {
    vi.useFakeTimers();
    locks = new Managed(new ScriptedStore());
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('does not follow a wall clock that is set back: the hold ends with its lease, not later', async () => {
    const hold = await locks.enter('k', { renew: false });
    vi.setSystemTime(Date.now() - 3_600_000);
    await vi.advanceTimersByTimeAsync(2_999);
    expect(hold.isHeld()).toBe(true);
    await vi.advanceTimersByTimeAsync(2);
    expect(hold.isHeld()).toBe(false);
  });

  it('takes a wall clock that is set forward for time that has passed: the hold ends at once', async () => {
    const hold = await locks.enter('k', { renew: false });
    const before = now();
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(now() - before).toBeGreaterThanOrEqual(3_599_999);
    expect(hold.isHeld()).toBe(false);
    expect(hold.lost.reason).toMatchObject({ reason: 'expired' });
  });

  it('shortens the hold by a small step forward, and a later step back does not give it back', async () => {
    const hold = await locks.enter('k', { renew: false });
    vi.setSystemTime(Date.now() + 1_000);
    expect(hold.isHeld()).toBe(true);
    vi.setSystemTime(Date.now() - 5_000);
    await vi.advanceTimersByTimeAsync(1_990);
    expect(hold.isHeld()).toBe(true);
    await vi.advanceTimersByTimeAsync(20);
    expect(hold.isHeld(), '1 s early').toBe(false);
  });

  it('goes on while the monotonic clock stands still, as in a suspended machine', async () => {
    const hold = await locks.enter('k', { renew: false });
    const monotonic = performance.now();
    vi.setSystemTime(Date.now() + 4_000);
    expect(performance.now()).toBe(monotonic);
    expect(hold.isHeld()).toBe(false);
  });

  it('never runs backwards', () => {
    const times: number[] = [];
    for (const step of [0, 5_000, -60_000, 3, -1, 1_000]) {
      vi.setSystemTime(Date.now() + step);
      times.push(now());
    }
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });
});

describe('a hold in a process that waits', () => {
  it('is lost without anybody reading the clock', async () => {
    const locks = new Managed(memoryStore());
    const { lost } = await locks.enter('k', { leaseTimeMs: 100, renew: false });
    await until('the loss', () => lost.aborted);
    expect(locks.types).toEqual(['acquired', 'lost']);
  });
});
