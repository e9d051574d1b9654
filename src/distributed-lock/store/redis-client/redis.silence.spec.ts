import { EventEmitter } from 'node:events';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SilenceWatch } from './redis.silence.js';

const SILENT_MS = 400;

describe('SilenceWatch', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function watched() {
    const client = Object.assign(new EventEmitter(), { status: 'ready', disconnect: vi.fn() });
    return { client, watch: new SilenceWatch(client as unknown as Redis, SILENT_MS) };
  }

  it('leaves a connection that answers nothing in time', () => {
    const { client, watch } = watched();
    watch.unanswered(performance.now());
    vi.advanceTimersByTime(SILENT_MS - 1);
    expect(client.disconnect).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(client.disconnect).toHaveBeenCalledExactlyOnceWith(true);
  });

  it('stays when something is heard, and needs one timer however much is unanswered', () => {
    const { client, watch } = watched();
    const sentAt = performance.now();
    for (let n = 0; n < 5; n += 1) watch.unanswered(sentAt);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(SILENT_MS - 1);
    watch.heard();
    expect(vi.getTimerCount()).toBe(0);
    watch.unanswered(sentAt); // older than what was heard
    vi.advanceTimersByTime(2 * SILENT_MS);
    expect(client.disconnect).not.toHaveBeenCalled();
  });

  it('leaves no timer behind when the connection is closed for good', () => {
    const { client, watch } = watched();
    watch.unanswered(performance.now());
    client.status = 'end';
    client.emit('end');
    expect(vi.getTimerCount()).toBe(0);
    watch.unanswered(performance.now());
    expect(vi.getTimerCount()).toBe(0);
  });
});
