import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Countdown, Countdowns } from '../../src/distributed-lock/store/countdown.js';
import { failureOf, inOneWorld } from './managed.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('timers', () => {
  it('are gone with the end of a manager and its store: of waits, of leases, of holds', async () => {
    const [closing, other] = await inOneWorld(2);
    await (await closing!.enter('k', { waitTimeMs: 60_000 })).release();
    await closing!.enter('held');
    const waiting = failureOf(closing!.enter('held', { waitTimeMs: 30_000 }));
    expect(vi.getTimerCount(), 'control: they are there').toBeGreaterThan(1);
    const closed = closing!.manager.close(0);
    await vi.advanceTimersByTimeAsync(1); // the grace time
    await Promise.all([closed, waiting]);
    expect(vi.getTimerCount()).toBe(0);
    await (await other!.enter('held', { waitTimeMs: 0 })).release();
    await other!.manager.close(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('of a countdown that ends stay for what is still in it, and go with the last of it', () => {
    const expired: string[] = [];
    const countdown = new Countdown<string>(1_000, (entry) => expired.push(entry));
    countdown.add('first');
    countdown.add('second');
    countdown.end();
    countdown.delete('first');
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1_001);
    expect([expired, vi.getTimerCount()]).toEqual([['second'], 0]);
    countdown.add('third');
    countdown.delete('third');
    expect(vi.getTimerCount(), 'it has begun anew: the timer waits for the next one').toBe(1);
    countdown.end();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tell of each entry at most once, also if one that expires ends others', () => {
    const expired: number[] = [];
    const countdown = new Countdown<number>(1_000, (entry) => {
      expired.push(entry);
      countdown.delete(1_999 - entry);
    });
    for (let entry = 0; entry < 2_000; entry += 1) countdown.add(entry);
    vi.advanceTimersByTime(1_001);
    expect(expired).toEqual(Array.from({ length: 1_000 }, (_, entry) => entry));
  });

  it('of all lengths go', () => {
    const countdowns = new Countdowns<string>(() => undefined);
    for (const ms of [10, 20]) {
      countdowns.add('a wait', ms);
      countdowns.delete('a wait', ms);
    }
    expect(vi.getTimerCount(), 'control').toBe(2);
    countdowns.end();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('of lengths that are used once do not pile up, and none goes that somebody waits for', () => {
    const expired: number[] = [];
    const countdowns = new Countdowns<number>((ms) => expired.push(ms));
    for (let ms = 1_000; ms < 1_100; ms += 1) countdowns.add(ms, ms);
    expect(vi.getTimerCount(), 'control: they are in use').toBe(100);
    for (let ms = 1_000; ms < 1_100; ms += 1) if (ms !== 1_050) countdowns.delete(ms, ms);
    expect(vi.getTimerCount()).toBeLessThanOrEqual(16);
    vi.advanceTimersByTime(1_200);
    expect([expired, vi.getTimerCount()]).toEqual([[1_050], 0]);
  });
});
