import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import { busy, freed, gone, granted, Stage, unavailable } from './model/scripted-backend.js';
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

describe('a process that waits', () => {
  it('asks once for all its callers, under one owner id', async () => {
    await stage.call();
    await stage.call();
    expect(stage.backend.unanswered).toEqual(['take']);
    expect(stage.backend.next('take').request).toMatchObject({
      wait: true,
      more: false,
      attempt: 0,
    });
    await stage.backend.next('take').answer(busy());
    await stage.wake();
    expect(stage.backend.next('take').request).toMatchObject({
      owner: 'me:1',
      more: true,
      attempt: 1,
    });
  });

  it('keeps its place when it is overtaken: the answer it had is sent along', async () => {
    await stage.call();
    expect(stage.backend.next('take').request!.since).toBeNull();
    await stage.backend.next('take').answer(busy({ since: '17' }));
    await stage.wake();
    expect(stage.backend.next('take').request!.since).toBe('17');
    await stage.backend.next('take').answer(busy({ since: '17' }));
    await stage.wake();
    expect(stage.backend.next('take').request!.since).toBe('17');
  });

  it('has no place any more once it had its turn', async () => {
    const call = await stage.call();
    await stage.backend.next('take').answer(busy({ since: '17' }));
    await stage.wake();
    await stage.backend.next('take').answer(granted());
    const release = stage.store.release(call.grant!);
    await stage.backend.next('giveBack').answer(freed);
    await release;
    await stage.call();
    expect(stage.backend.next('take').request).toMatchObject({ since: null, attempt: 0 });
  });

  it('looks again when the answer says so, not before', async () => {
    await stage.call();
    await stage.backend.next('take').answer(busy({ retryInMs: 700 }));
    await stage.time.advance(699);
    expect(stage.backend.unanswered).toEqual([]);
    await stage.time.advance(1);
    expect(stage.backend.unanswered).toEqual(['take']);
  });

  it('asks again at once if the wake-up overtook the busy answer', async () => {
    await stage.call();
    await stage.wake();
    expect(stage.backend.unanswered, 'the answer is still on its way').toEqual(['take']);
    await stage.backend.next('take').answer(busy());
    expect(stage.backend.unanswered).toEqual(['take']);
    await stage.backend.next('take').answer(busy());
    expect(stage.backend.unanswered, 'one wake-up is one look').toEqual([]);
  });

  it('looks at once when the backend is back: wake-ups may have been lost', async () => {
    await stage.call();
    await stage.backend.next('take').answer(busy());
    stage.backend.listener.ready();
    await settle();
    expect(stage.backend.unanswered).toEqual(['take']);
  });

  it('asks for a place when a caller that waits joined one that only tried', async () => {
    const tried = await stage.call(0);
    const waiting = await stage.call();
    expect(stage.backend.next('take').request!.wait).toBe(false);
    await stage.backend.next('take').answer(busy());
    expect(tried.grant).toBeNull();
    expect(waiting.isPending).toBe(true);
    expect(stage.backend.next('take').request!.wait).toBe(true);
  });
});

describe('a wake-up for a key that nobody here wants', () => {
  it('is passed on', async () => {
    await stage.wake();
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: '', more: false });
  });

  it('is passed on by the last waiter to leave, if it came in that moment', async () => {
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    await stage.wake();
    abort.abort(new Error('gone'));
    await stage.backend.next('take').answer(busy());
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
  });
});

describe('the last waiter that leaves', () => {
  it('takes the process out of the queue', async () => {
    const abort = new AbortController();
    const call = await stage.call(60_000, 30_000, abort.signal);
    await stage.backend.next('take').answer(busy());
    abort.abort(new Error('gone'));
    await settle();
    expect(call.error).toEqual(new Error('gone'));
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
  });

  it('also when the place came from passing the turn on', async () => {
    const grant = await stage.holder();
    const call = await stage.call(200);
    await stage.time.advance(60);
    const release = stage.store.release(grant);
    await settle();
    await stage.backend.next('pass').answer({ outcome: 'passed', retryInMs: 5_000, since: '9' });
    expect(await release).toBe('released');
    await stage.time.advance(200);
    expect(call.grant).toBeNull();
    expect(stage.backend.next('giveBack')).toMatchObject({ more: false });
  });

  it('does so when the answer comes, if it left before', async () => {
    const call = await stage.call(100);
    await stage.time.advance(100);
    expect(call.isPending).toBe(false);
    expect(stage.backend.unanswered).toEqual(['take']);
    await stage.backend.next('take').answer(busy());
    expect(stage.backend.unanswered).toEqual(['giveBack']);
  });

  it('leaves nothing to tell if it only tried', async () => {
    await stage.call(0);
    await stage.backend.next('take').answer(busy());
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('keeps the others in the queue', async () => {
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    await stage.call();
    await stage.backend.next('take').answer(busy());
    abort.abort(new Error('gone'));
    await settle();
    expect(stage.backend.unanswered).toEqual([]);
  });
});

describe('a caller that only tries', () => {
  it('is told at once when others are in front, without a command', async () => {
    await stage.holder();
    expect((await stage.call(0)).grant).toBeNull();
    await stage.call();
    expect((await stage.call(0)).grant).toBeNull();
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('never waits for another process, even if it came while the turn was passed on', async () => {
    const grant = await stage.holder();
    const abort = new AbortController();
    await stage.call(60_000, 30_000, abort.signal);
    await stage.time.advance(60);
    const release = stage.store.release(grant);
    await settle();
    abort.abort(new Error('gone'));
    const tried = await stage.call(0);
    await stage.backend.next('pass').answer({ outcome: 'passed', retryInMs: 5_000, since: null });
    await release;
    expect(tried.grant).toBeNull();
  });

  it('learns that the store is broken, also while others wait for it to come back', async () => {
    const waiting = await stage.call();
    await stage.backend.next('take').fail();
    expect(waiting.isPending).toBe(true);
    expect((await stage.call(0)).error).toBeInstanceOf(LockStoreUnavailableError);
  });
});

describe('"busy" and "broken" are different answers', () => {
  it('busy: the wait time is over while another process has the key', async () => {
    const call = await stage.call(100);
    await stage.backend.next('take').answer(busy());
    await stage.time.advance(100);
    expect(call.grant).toBeNull();
  });

  it('busy: another process went first, and the next answer is on its way', async () => {
    const grant = await stage.holder();
    const call = await stage.call(300);
    await stage.time.advance(60);
    void stage.store.release(grant);
    await settle();
    await stage.backend.next('pass').answer({ outcome: 'passed', retryInMs: 5_000, since: null });
    await stage.wake();
    await stage.time.advance(300);
    expect(stage.backend.unanswered).toEqual(['take']);
    expect(call.grant).toBeNull();
  });

  it('broken: the wait time is over and the store has not answered', async () => {
    const call = await stage.call(100);
    await stage.time.advance(100);
    expect(call.error).toBeInstanceOf(LockStoreUnavailableError);
  });

  it('broken: the last command failed', async () => {
    const call = await stage.call(40);
    await stage.backend.next('take').fail(unavailable('LOADING'));
    expect(call.isPending, 'asked again within the wait time').toBe(true);
    await stage.time.advance(40);
    expect(call.error).toMatchObject({ code: 'LOCK_STORE_UNAVAILABLE', detail: 'LOADING' });
  });

  it('busy again as soon as the store answers', async () => {
    const call = await stage.call(10_000);
    await stage.backend.next('take').fail();
    await stage.time.advance(100);
    await stage.backend.next('take').answer(busy({ retryInMs: 60_000 }));
    await stage.time.advance(10_000);
    expect(call.grant).toBeNull();
  });

  it('a wrong set-up turns everybody away at once: waiting cannot help', async () => {
    const calls = [await stage.call(), await stage.call(), await stage.call()];
    await stage.backend.next('take').fail(new LockConfigurationError('NOPERM'));
    for (const call of calls) expect(call.error).toBeInstanceOf(LockConfigurationError);
    expect(stage.backend.next('giveBack')).toMatchObject({ owner: 'me:1', more: false });
    await stage.backend.next('giveBack').answer(gone);
    expect(stage.backend.unanswered).toEqual([]);
  });

  it('a store that fails is asked again after 50 ms, 100, 200, … 1000, a quarter more or less', async () => {
    await stage.call(600_000);
    const pauses: number[] = [];
    for (let n = 0; n < 8; n += 1) {
      await stage.backend.next('take').fail();
      const failedAt = stage.time.now;
      while (stage.backend.unanswered.length === 0) await stage.time.step();
      pauses.push(stage.time.now - failedAt);
    }
    const expected = [50, 100, 200, 400, 800, 1_000, 1_000, 1_000];
    for (const [n, pause] of pauses.entries()) {
      expect(pause).toBeGreaterThanOrEqual(0.75 * expected[n]!);
      expect(pause).toBeLessThanOrEqual(1.25 * expected[n]!);
    }
  });
});
