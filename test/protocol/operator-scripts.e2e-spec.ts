import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeWith, redisUrl } from '../support/with-services.js';
import { ScriptedLock } from './scripted-lock.js';

let lock: ScriptedLock;

describeWith('redis')('a hold that is ended by force', () => {
  beforeEach(() => {
    lock = new ScriptedLock(redisUrl());
  });
  afterEach(() => lock.close());

  it('is told to its process; of the others the one that has waited longest is woken, and the key kept for it', async () => {
    // The one that stays in the queue is asked on its second channel whether it lives.
    for (const process of ['p1', 'p1.line', 'p2', 'p3', 'p3.line']) await lock.listen(process);
    await lock.acquire('p1:1', 'p1');
    for (const process of ['p2', 'p3']) await lock.acquire(`${process}:1`, process, { wait: true });
    expect(await lock.evict()).toEqual(['p1:1']);
    await lock.hears('p2');
    await lock.hears('p1.line');
    expect(lock.messages.toSorted()).toEqual(['p1.line -1 p1:1 k', 'p2 0:0 k']);
    expect(await lock.value()).toBe('r:p2');
    expect(await lock.queue()).toEqual(['p3']);
    expect((await lock.acquire('p3:2', 'p3'))[0], 'closed to others').toBe(0);
    expect((await lock.acquire('p2:1', 'p2'))[0], 'open to the one').toBe(1);
  });

  it('does not wake its own process, whose callers queue again once it knows', async () => {
    for (const process of ['p1', 'p2']) await lock.listen(process);
    await lock.acquire('p1:1', 'p1', { more: true });
    await lock.acquire('p2:1', 'p2', { wait: true });
    expect(await lock.queue(), 'control: it stands before the other').toEqual(['p1', 'p2']);
    expect(await lock.evict()).toEqual(['p1:1']);
    await lock.hears('p2');
    expect([lock.heard('p1'), await lock.queue()]).toEqual([0, []]);
  });

  it('is over for the turn, whatever its process sends late: renewals, passes and releases change nothing', async () => {
    const [, turn] = await lock.acquire('p1:1', 'p1');
    await lock.evict();
    await lock.acquire('p2:1', 'p2');
    expect(await lock.renew(String(turn), 'p1:1', 60_000)).toBe(false);
    expect(await lock.pass('p1:1', 'p1')).toEqual([0]);
    expect(await lock.release('p1:1', 'p1')).toEqual([-1, 0]);
    expect(await lock.value()).toMatch(/:p2:1$/);
  });

  it('of holders together: all of them, and the next in the line enter', async () => {
    for (const process of ['p1.line', 'p2.line']) await lock.listen(process);
    await lock.enter('s:p1.line:1');
    await lock.enter('s:p1.line:2');
    await lock.enter('x:p2.line:1', { wait: true });
    expect(await lock.stateOf()).toMatchObject([
      'q:s',
      expect.any(Number),
      1,
      'p1.line:1',
      expect.any(Number),
      'p1.line:2',
      expect.any(Number),
    ]);
    expect(await lock.evict()).toEqual(['p1.line:1', 'p1.line:2']);
    await lock.hears('p2.line');
    await lock.hears('p1.line', 2);
    expect(await lock.value()).toMatch(/:p2\.line:1$/);
    expect(await lock.stay('q:s', 'p1.line:1', 60_000)).toEqual([0]);
    expect(await lock.holders()).toEqual([]);
  });

  it('is nobody’s where the key is free, or kept for a process that was woken', async () => {
    expect(await lock.evict()).toEqual([]);
    for (const process of ['p2']) await lock.listen(process);
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.release('p1:1', 'p1', { patienceMs: 0 });
    expect(await lock.value(), 'control').toBe('r:p2');
    expect(await lock.stateOf()).toMatchObject(['r:p2', expect.any(Number), 0]);
    expect(await lock.evict()).toEqual([]);
    expect(await lock.value()).toBe('r:p2');
  });

  it('stateOf leaves out holders whose lease is over, and the process that asks', async () => {
    await lock.enter('s:p1.line:1', { leaseMs: 60_000 });
    await lock.client.zadd(lock.held, 1, 'p1.line:2');
    await lock.acquire('p1:1', 'p1', { wait: true });
    await lock.acquire('p2:1', 'p2', { wait: true });
    const [value, , places, ...held] = (await lock.stateOf('p1')) as unknown[];
    expect([value, places, held]).toEqual(['q:s', 1, ['p1.line:1', expect.any(Number)]]);
  });
});
