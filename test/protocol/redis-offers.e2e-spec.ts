import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';
import { ScriptedLock } from './scripted-lock.js';

const describeScripts = describeWith('redis');
let lock: ScriptedLock;

beforeEach(() => {
  lock = new ScriptedLock(redisUrl());
});
afterEach(() => lock.close());

/** `p1` holds the key, `p2` waits and listens. */
async function contended(): Promise<void> {
  await lock.listen('p2');
  await lock.acquire('p1:1', 'p1');
  await lock.acquire('p2:1', 'p2', { wait: true });
}

/** The turn that was offered to `p2`, as the message says. */
async function offered(): Promise<string> {
  await lock.hears('p2');
  const [, turn] = /^p2 (\d+):3000 k$/.exec(lock.messages.at(-1)!)!;
  return turn!;
}

describeScripts.each([
  ['a release', () => lock.release('p1:1', 'p1', { offerMs: 3_000 })],
  ['a pass', () => lock.pass('p1:1', 'p1', { offerMs: 3_000 })],
])('%s that wakes a process', (_name, leave) => {
  it('offers it the turn, which is kept for it for as long as the message says', async () => {
    await contended();
    await leave();
    const turn = await offered();
    expect(await lock.value()).toBe(`r:p2:${turn}`);
    expect(await lock.ttl()).toBeGreaterThan(2_000);
    expect(await lock.ttl()).toBeLessThanOrEqual(3_000);
    expect(await lock.acquire('p1:2', 'p1')).toEqual([0, expect.any(Number), `p2:${turn}`, '0']);
  });

  it('with a number above every turn before it, and below every one after it', async () => {
    await contended();
    const before = lock.given;
    await leave();
    const turn = await offered();
    expect(Number(turn)).toBeGreaterThan(Number(before));
    await lock.acquire('p3:1', 'p3');
    expect(lock.given, 'told to whoever is told to wait').toBe(turn);
    await lock.release(`p2:${turn}`, 'p2');
    const [, next] = await lock.acquire('p2:2', 'p2');
    expect(Number(next)).toBeGreaterThan(Number(turn));
  });
});

describeScripts('an offer', () => {
  beforeEach(async () => {
    await contended();
    await lock.release('p1:1', 'p1', { offerMs: 3_000 });
  });

  it('is confirmed by asking under its owner id: the same turn, with a whole lease', async () => {
    const turn = await offered();
    for (const _time of [1, 2]) {
      expect(await lock.acquire(`p2:${turn}`, 'p2', { leaseMs: 30_000 })).toEqual([1, turn]);
      expect(await lock.value()).toBe(`${turn}:p2:${turn}`);
      expect(await lock.ttl()).toBeGreaterThan(29_000);
    }
  });

  it('is confirmed by a renewal, too, which may overtake the question', async () => {
    const turn = await offered();
    expect(await lock.renew(turn, `p2:${turn}`, 30_000)).toBe(true);
    expect(await lock.value()).toBe(`${turn}:p2:${turn}`);
    expect(await lock.ttl()).toBeGreaterThan(29_000);
  });

  it('control: is not confirmed by a renewal of another turn', async () => {
    const turn = await offered();
    expect(await lock.renew(turn, `p2:${Number(turn) - 1}`, 30_000)).toBe(false);
    expect(await lock.value()).toBe(`r:p2:${turn}`);
  });

  it('never ends earlier for being confirmed', async () => {
    const turn = await offered();
    await lock.acquire(`p2:${turn}`, 'p2', { leaseMs: 100 });
    expect(await lock.ttl()).toBeGreaterThan(2_000);
  });

  it('leaves the process in the queue if more of its callers wait', async () => {
    const turn = await offered();
    await lock.acquire(`p2:${turn}`, 'p2', { more: true });
    expect(await lock.queue()).toEqual(['p2']);
    await lock.acquire(`p2:${turn}`, 'p2');
    expect(await lock.queue(), 'repeated, it changes nothing').toEqual(['p2']);
  });

  it('is told to its process if that asks without having heard of it, and nothing changes: the question may be an old one', async () => {
    const turn = await offered();
    const busy = [0, expect.any(Number), `p2:${turn}`, expect.any(String)];
    expect(await lock.acquire('p2:1', 'p2', { wait: true })).toEqual(busy);
    expect([lock.isOffered, await lock.value()]).toEqual([true, `r:p2:${turn}`]);
    await lock.acquire('p3:1', 'p3');
    expect(lock.isOffered, 'control: to nobody else').toBe(false);
  });

  it('is told to its process if that leaves without having heard of it, and nothing changes', async () => {
    const turn = await offered();
    expect(await lock.release('p2:1', 'p2')).toEqual([`p2:${turn}`, 0]);
    expect(await lock.release('', 'p2')).toEqual([`p2:${turn}`, 0]);
    expect(await lock.value()).toBe(`r:p2:${turn}`);
    expect(await lock.release('p2:1', 'p2', { more: true }), 'control').toEqual([-1, 0]);
    expect(await lock.release('p3:1', 'p3'), 'control').toEqual([-1, 0]);
  });

  it('goes to the next under its owner id, confirmed or not', async () => {
    await lock.listen('p3');
    await lock.acquire('p3:1', 'p3', { wait: true });
    const turn = await offered();
    expect(await lock.release(`p2:${turn}`, 'p2', { offerMs: 3_000 })).toEqual([1, 1]);
    await lock.hears('p3');
    expect(await lock.value()).toMatch(/^r:p3:\d+$/);
  });

  it('can be passed on, unconfirmed', async () => {
    await lock.listen('p3');
    await lock.acquire('p3:1', 'p3', { wait: true });
    const turn = await offered();
    const [outcome] = (await lock.pass(`p2:${turn}`, 'p2', { offerMs: 3_000 })) as [number];
    expect(outcome).toBe(2);
    expect(await lock.queue()).toEqual(['p2']);
  });

  it('is shown as a hold and ended by force, as its process may be inside', async () => {
    const turn = await offered();
    await lock.listen('p2.line');
    expect(await lock.stateOf()).toMatchObject([`r:p2:${turn}`, expect.any(Number), 0]);
    expect(await lock.evict()).toEqual([`p2:${turn}`]);
    await lock.hears('p2.line');
    expect(lock.messages.at(-1)).toBe(`p2.line -1 p2:${turn} k`);
    expect(await lock.renew(turn, `p2:${turn}`, 30_000)).toBe(false);
  });

  it('keeps the line out', async () => {
    await offered();
    expect((await lock.enter('s:p3.line:1'))[0]).toBe(0);
  });
});

describeScripts('no turn is offered', () => {
  it('to a process that is dead', async () => {
    await contended();
    await lock.listen('p3');
    await lock.acquire('p3:1', 'p3', { wait: true });
    await lock.kill('p2');
    await lock.release('p1:1', 'p1', { offerMs: 3_000 });
    await lock.hears('p3');
    expect(await lock.value()).toMatch(/^r:p3:\d+$/);
  });

  it('where receivers cannot be counted, so that a dead one cannot keep the key shut', async () => {
    await contended();
    await lock.release('p1:1', 'p1', { offerMs: 3_000, counted: false });
    await lock.hears('p2');
    expect([await lock.value(), lock.messages]).toEqual([null, ['p2 0:0 k']]);
  });

  it('to one that has waited for a third of the time it would be kept: it may stand still', async () => {
    await contended();
    await until('a millisecond', async () => {
      const [since] = (await lock.client.zrange(lock.waiting, 0, 0, 'WITHSCORES')).slice(1);
      const [seconds, micros] = await lock.client.time();
      return Number(seconds) * 1e6 + Number(micros) - Number(since) > 1_000;
    });
    await lock.release('p1:1', 'p1', { offerMs: 3, patienceMs: 0 });
    await lock.hears('p2');
    expect([await lock.value(), lock.messages]).toEqual(['r:p2', ['p2 0:0 k']]);
  });

  it('to a caller in the line', async () => {
    await lock.listen('p2.line');
    await lock.acquire('p1:1', 'p1');
    await lock.enter('x:p2.line:1', { wait: true });
    await lock.release('p1:1', 'p1', { offerMs: 3_000 });
    await lock.hears('p2.line');
    expect(await lock.value()).toMatch(/^\d+:p2\.line:1$/);
  });
});

describeScripts('whoever is told to wait', () => {
  beforeEach(async () => {
    await lock.enter('s:p1.line:1');
  });

  it('trusts no offer where the server has forgotten its turns', async () => {
    await lock.acquire('p2:1', 'p2', { wait: true });
    expect(lock.given).toBe('9');
    expect(lock.given > `${Date.now()}000`, 'above all').toBe(true);
  });

  it('is offered turns above what it has seen, whatever the server has forgotten', async () => {
    const far = '9000000000000000';
    await lock.listen('p2');
    await lock.acquire('p2:1', 'p2', { wait: true, seen: far });
    expect(await lock.client.get(lock.fence)).toBe(far);
    await lock.acquire('p2:1', 'p2', { wait: true, seen: '8000000000000000' });
    expect(lock.given).toBe(far);
    await lock.client.del(lock.lock, lock.held);
    await lock.release('p1:1', 'p1', { offerMs: 3_000 });
    await lock.hears('p2');
    expect(await lock.value()).toBe('r:p2:9000000000000001');
  });
});
