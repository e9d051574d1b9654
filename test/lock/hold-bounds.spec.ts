import { describe, expect, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockLostError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { resolveTimes } from '../../src/distributed-lock/distributed-lock.options.js';
import { until } from '../support/until.js';
import { failureOf, inOneWorld } from './managed.js';

describe('holdAtMost', () => {
  it('ends a hold that is renewed; the next one enters, and the holder is told why', async () => {
    const [here, there] = await inOneWorld(2);
    const since = now();
    const hold = await here!.enter('job', { leaseTimeMs: 300, holdAtMostMs: 450 });
    const next = there!.enter('job');
    await until('the hold to be lost', () => hold.lost.aborted);
    expect(now() - since).toBeGreaterThanOrEqual(445);
    expect(hold.lost.reason).toMatchObject({
      code: 'LOCK_LOST',
      reason: 'held-too-long',
      message: expect.stringContaining('held for longer than "holdAtMost" allows'),
    });
    expect(() => hold.assertHeld()).toThrow(LockLostError);
    await (await next).release();
    expect(await hold.release()).toBe('not-held');
    expect(here!.types).toEqual(['acquired', 'lost']);
  });

  it('bounds the lease as well: what a frozen holder leaves behind ends with it', async () => {
    const [here, there] = await inOneWorld(2);
    const hold = await here!.enter('job', { leaseTimeMs: 60_000, holdAtMostMs: 300 });
    here!.store.stop = () => undefined;
    // Frozen: it neither sees its deadline nor releases.
    here!.store.release = () => Promise.resolve('not-held');
    const since = now();
    await there!.enter('job');
    expect(now() - since).toBeLessThan(1_500);
    expect(hold.isHeld()).toBe(false);
  });

  it('is not moved by hold.renew()', async () => {
    const [here] = await inOneWorld(1);
    const hold = await here!.enter('job', { leaseTimeMs: 300, holdAtMostMs: 400, renew: false });
    await hold.renew('10s');
    expect(hold.deadline - now()).toBeLessThanOrEqual(400);
    await until('the hold to be lost', () => hold.lost.aborted);
    expect(await failureOf(hold.renew('10s'))).toMatchObject({ reason: 'held-too-long' });
  });

  it('control: without it, the hold is renewed past that', async () => {
    const [here] = await inOneWorld(1);
    const since = now();
    const hold = await here!.enter('job', { leaseTimeMs: 300 });
    await until('that time to pass', () => now() - since > 700);
    expect(hold.isHeld()).toBe(true);
  });
});

describe('holdAtLeast', () => {
  it.each([
    ['returns', async () => 'done'],
    [
      'throws',
      async () => {
        throw new Error('business');
      },
    ],
  ])(
    'keeps the key closed after a method that %s, from when it was acquired',
    async (_how, work) => {
      const [here, there] = await inOneWorld(2);
      const since = now();
      await here!.locked('job', work, { holdAtLeastMs: 300 }).catch(() => undefined);
      expect(now() - since, 'the method has ended long before').toBeLessThan(150);
      for (const manager of [here!, there!])
        expect(await failureOf(manager.enter('job', { waitTimeMs: 0 }))).toMatchObject({
          code: 'LOCK_WAIT_TIMEOUT',
        });
      await there!.enter('job');
      expect(now() - since).toBeGreaterThanOrEqual(298);
      expect(here!.types).toEqual(['acquired', 'released', 'timed-out']);
    },
  );

  it('costs nothing once it is over: the release is a plain one', async () => {
    const [here, there] = await inOneWorld(2);
    const hold = await here!.enter('job', { holdAtLeastMs: 30 });
    const since = now();
    await until('that time to pass', () => now() - since > 35);
    await hold.release();
    await (await there!.enter('job', { waitTimeMs: 0 })).release();
  });

  it('control: without it, the next one enters at once', async () => {
    const [here, there] = await inOneWorld(2);
    await here!.locked('job', async () => 'done');
    await (await there!.enter('job', { waitTimeMs: 0 })).release();
  });

  it('is kept by a holder that is given up at shutdown, not by one that was lost', async () => {
    const [closing, there, losing] = await inOneWorld(3);
    const since = now();
    await closing!.enter('job', { holdAtLeastMs: 300 });
    await closing!.manager.close(0);
    await (await there!.enter('job')).release();
    expect(now() - since).toBeGreaterThanOrEqual(298);

    const lost = await losing!.enter('other', {
      leaseTimeMs: 100,
      renew: false,
      holdAtLeastMs: 5_000,
    });
    await until('its lease to end', () => lost.lost.aborted);
    await (await there!.enter('other')).release();
  });
});

describe('the options', () => {
  it.each([
    [
      { holdAtLeast: '30s', holdAtMost: '10s' },
      '"jobs: holdAtLeast" is "30s"; allowed: at most "holdAtMost", which is "10s"',
    ],
    [{ holdAtMost: 50 }, '"jobs: holdAtMost" is 50; allowed: 100 ms to'],
    [{ holdAtLeast: 'soon' }, '"jobs: holdAtLeast" is "soon"; allowed: milliseconds'],
    [{ holdAtLeast: -1 }, '"jobs: holdAtLeast" is -1; allowed: 0 ms to'],
  ])('%j is refused', (given, message) => {
    expect(() => resolveTimes(given, undefined, 'jobs: ')).toThrow(message);
  });

  it('fit together', () => {
    expect(resolveTimes({ holdAtLeast: '30s', holdAtMost: '10m' })).toMatchObject({
      holdAtLeastMs: 30_000,
      holdAtMostMs: 600_000,
    });
    expect(Object.keys(resolveTimes({ holdAtLeast: 0 }))).not.toContain('holdAtLeastMs');
  });
});
