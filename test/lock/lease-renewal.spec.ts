import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockLostError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { Managed } from './managed.js';
import { ScriptedStore } from './scripted.lock-store.js';

const LEASE_MS = 3_000;
const unavailable = () => Promise.reject(new LockStoreUnavailableError('scripted', null, 'down'));

describe('the renewal of held locks', () => {
  let locks: Managed<ScriptedStore>;
  let startedAt: number;
  /** When the store was asked, in milliseconds since the test began. */
  const askedAt = () => locks.store.renewals.map(({ at }) => Math.round(at - startedAt));

  beforeEach(() => {
    vi.useFakeTimers();
    locks = new Managed(new ScriptedStore());
    startedAt = now();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('comes each time a third of the lease has passed, for as long as the lock is held', async () => {
    const hold = await locks.enter('k');
    await vi.advanceTimersByTimeAsync(999);
    expect(askedAt()).toEqual([]);
    await vi.advanceTimersByTimeAsync(10 * LEASE_MS);
    expect(askedAt().slice(0, 3)).toEqual([1_000, 2_000, 3_000]);
    expect(askedAt()).toHaveLength(30);
    expect(hold.isHeld()).toBe(true);
    expect(await hold.release()).toBe('released');
    await vi.advanceTimersByTimeAsync(10 * LEASE_MS);
    expect(askedAt()).toHaveLength(30);
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('takes along what is due within a tenth of its lease, and nothing else', async () => {
    await locks.enter('first');
    await vi.advanceTimersByTimeAsync(290);
    await locks.enter('rides');
    await vi.advanceTimersByTimeAsync(20);
    await locks.enter('later');
    await vi.advanceTimersByTimeAsync(690);
    expect(locks.store.renewals.map(({ keys }) => keys)).toEqual([['first', 'rides']]);
    await vi.advanceTimersByTimeAsync(310);
    expect(locks.store.renewals.map(({ keys }) => keys)).toEqual([['first', 'rides'], ['later']]);
    expect(askedAt()).toEqual([1_000, 1_310]);
  });

  it('is one request for all holds that are due', async () => {
    const keys = Array.from({ length: 300 }, (_, n) => `k${n}`);
    await Promise.all(keys.map((key) => locks.enter(key)));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(locks.store.renewals.map((it) => it.keys)).toEqual([keys]);
  });

  it('asks with the lease of each hold', async () => {
    const leases: number[] = [];
    locks.store.answerRenewal = async (renewals) => {
      leases.push(...renewals.map((it) => it.leaseTimeMs));
      return locks.store.confirm(renewals);
    };
    await locks.enter('short', { leaseTimeMs: 3_000 });
    await locks.enter('long', { leaseTimeMs: 3_300 });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(leases).toEqual([3_000, 3_300]);
  });

  it('is tried again after 50, 100, 200 … ms; the deadline ends the hold, not the failures', async () => {
    locks.store.answerRenewal = unavailable;
    const hold = await locks.enter('k', { leaseTimeMs: 9_000 });
    const { lost } = hold;
    await vi.advanceTimersByTimeAsync(8_999);
    expect(askedAt()).toEqual([3_000, 3_050, 3_150, 3_350, 3_750, 4_550, 6_150]);
    expect(hold.isHeld()).toBe(true);
    expect(lost.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(2);
    expect(lost.aborted, 'by the timer of the deadline; no retry was due').toBe(true);
    expect((lost.reason as LockLostError).reason).toBe('expired');
    expect(locks.types).toEqual(['acquired', 'lost']);
  });

  it('counts its failures anew after a success, and a third of the lease from when it was sent', async () => {
    let failing = true;
    locks.store.answerRenewal = async (renewals) =>
      failing ? unavailable() : locks.store.confirm(renewals);
    await locks.enter('k');
    await vi.advanceTimersByTimeAsync(1_060);
    failing = false;
    await vi.advanceTimersByTimeAsync(100);
    failing = true;
    await vi.advanceTimersByTimeAsync(1_060);
    expect(askedAt()).toEqual([1_000, 1_050, 1_150, 2_150, 2_200]);
  });

  it('that gets no answer ends the hold at its deadline, and no second request is made meanwhile', async () => {
    locks.store.answerRenewal = () => new Promise(() => {});
    const { lost } = await locks.enter('k');
    await vi.advanceTimersByTimeAsync(LEASE_MS - 1);
    expect(lost.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(2);
    expect(lost.aborted).toBe(true);
    expect(askedAt()).toEqual([1_000]);
  });

  it('that the store refuses ends the hold at once, and only that one', async () => {
    const [gone, held] = [await locks.enter('gone'), await locks.enter('held')];
    locks.store.answerRenewal = async (renewals) => {
      locks.store.confirm(renewals);
      return renewals.map(({ grant }) => grant.key !== 'gone');
    };
    const { lost } = gone;
    await vi.advanceTimersByTimeAsync(1_000);
    expect((lost.reason as LockLostError).reason).toBe('taken-over');
    expect(gone.isHeld()).toBe(false);
    expect(held.isHeld()).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(locks.store.renewals.at(-1)?.keys).toEqual(['held']);
  });

  it.each([
    ['that the lock is gone', () => [false]],
    ['that the lock is held', () => [true]],
    ['nothing, with an error', () => unavailable()],
  ])('ignores an answer after the release: %s', async (_what, answer) => {
    let deliver!: () => void;
    locks.store.answerRenewal = () =>
      new Promise((resolve) => {
        deliver = () => resolve(answer());
      });
    const hold = await locks.enter('k');
    const { lost } = hold;
    await vi.advanceTimersByTimeAsync(1_000);
    await hold.release();
    deliver();
    await vi.advanceTimersByTimeAsync(10 * LEASE_MS);
    expect(lost.aborted).toBe(false);
    expect(locks.types).toEqual(['acquired', 'released']);
    expect(askedAt()).toEqual([1_000]);
  });

  it('uses one timer however many locks come and go, and none once nothing is held', async () => {
    for (let n = 0; n < 1_000; n += 1) await (await locks.enter(`k${n}`)).release();
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1);
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect(vi.getTimerCount()).toBe(0);
    const hold = await locks.enter('k');
    expect(vi.getTimerCount()).toBe(1);
    await hold.release();
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect(vi.getTimerCount()).toBe(0);
    expect(locks.store.renewals).toEqual([]);
  });

  it('sees a hold that is due before the one its timer was set for', async () => {
    await locks.enter('slow', { leaseTimeMs: 600_000 });
    await locks.enter('fast', { leaseTimeMs: 300 });
    await vi.advanceTimersByTimeAsync(100);
    expect(locks.store.renewals.map(({ keys }) => keys)).toEqual([['fast']]);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(locks.store.renewals.some(({ keys }) => keys.includes('slow' as never))).toBe(true);
    expect(locks.types).toEqual(['acquired', 'acquired']);
  });

  it('does not touch a hold that is not to be renewed', async () => {
    const { lost } = await locks.enter('k', { renew: false });
    await vi.advanceTimersByTimeAsync(LEASE_MS - 1);
    expect(lost.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(2);
    expect(lost.aborted).toBe(true);
    expect(locks.store.renewals).toEqual([]);
  });
});

describe('timers of a held lock', () => {
  it('do not keep the process alive', async () => {
    const timers = vi.spyOn(globalThis, 'setTimeout');
    try {
      const locks = new Managed(new ScriptedStore());
      const hold = await locks.enter('k', { leaseTimeMs: 60_000 });
      expect(timers.mock.results.length).toBeGreaterThan(0);
      for (const { value } of timers.mock.results) expect(value.hasRef()).toBe(false);
      await hold.release();
    } finally {
      timers.mockRestore();
    }
  });
});
