import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';
import { type AcquireReply, ScriptedLock } from './scripted-lock.js';

let lock: ScriptedLock;

function describeScripts(title: string, tests: () => void): void {
  describeWith('redis')(title, () => {
    beforeEach(() => {
      lock = new ScriptedLock(redisUrl());
    });
    afterEach(() => lock.close());
    tests();
  });
}

function turnOf(reply: AcquireReply): string {
  if (reply[0] !== 1) throw new Error(`not granted: ${JSON.stringify(reply)}`);
  return reply[1];
}

describeScripts('a command that is sent again', () => {
  it('acquire: is the same turn, and never shortens the lease', async () => {
    const turn = turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 10_000 }));
    expect(await lock.renew(turn, 'p1:1', 60_000)).toBe(true);
    expect(await lock.acquire('p1:1', 'p1', { leaseMs: 10_000 })).toEqual([1, turn]);
    expect(await lock.ttl()).toBeGreaterThan(50_000);
  });

  it('acquire: lengthens the lease, which is counted from its answer', async () => {
    const turn = turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 1_000 }));
    expect(await lock.acquire('p1:1', 'p1', { leaseMs: 60_000 })).toEqual([1, turn]);
    expect(await lock.ttl()).toBeGreaterThan(50_000);
  });

  it('renew: never shortens the lease', async () => {
    const turn = turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 60_000 }));
    expect(await lock.renew(turn, 'p1:1', 1_000)).toBe(true);
    expect(await lock.renew(turn, 'p1:1', 1_000)).toBe(true);
    expect(await lock.ttl()).toBeGreaterThan(50_000);
  });

  it('pass: never shortens the lease, and each turn is above the last', async () => {
    const turns = [turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 60_000 }))];
    for (let n = 0; n < 2; n += 1) {
      const [outcome, turn] = (await lock.pass('p1:1', 'p1', { leaseMs: 1_000 })) as [
        number,
        string,
      ];
      expect(outcome).toBe(1);
      turns.push(turn);
    }
    expect(turns).toEqual([...new Set(turns)].toSorted());
    expect(await lock.ttl()).toBeGreaterThan(50_000);
  });

  it('release: finds nothing of its own and changes nothing', async () => {
    await lock.acquire('p1:1', 'p1');
    expect(await lock.release('p1:1', 'p1')).toEqual([1, 0]);
    expect(await lock.release('p1:1', 'p1')).toEqual([0, 0]);
    await lock.acquire('p2:1', 'p2');
    expect(await lock.release('p1:1', 'p1')).toEqual([-1, 0]);
    expect(await lock.value()).toMatch(/:p2:1$/);
  });

  it('acquire, late: the key that it takes is freed by the release of its owner id', async () => {
    await lock.acquire('p1:1', 'p1');
    await lock.release('p1:1', 'p1');
    await lock.acquire('p1:1', 'p1', { leaseMs: 60_000 });
    const [granted, , holder] = await lock.acquire('p1:2', 'p1');
    expect([granted, holder]).toEqual([0, 'p1:1']);
    expect(await lock.release('p1:1', 'p1')).toEqual([1, 0]);
    expect(await lock.value()).toBeNull();
  });
});

describeScripts('a renewal', () => {
  it('is for the turn and the owner given: another turn of the same owner is not confirmed', async () => {
    const old = turnOf(await lock.acquire('p1:1', 'p1'));
    await lock.client.del(lock.lock); // the data is lost …
    const late = turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 1_000 })); // … and a late copy arrives
    expect(late).not.toBe(old);
    expect(await lock.renew(old, 'p1:1', 60_000)).toBe(false);
    expect(await lock.ttl()).toBeLessThanOrEqual(1_000);
    expect(await lock.renew(late, 'p1:1', 60_000)).toBe(true);
  });

  it('never makes a key', async () => {
    expect(await lock.renew('17', 'p1:1', 60_000)).toBe(false);
    expect(await lock.value()).toBeNull();
  });

  it('answers per key, each with a lease of its own', async () => {
    const turn = turnOf(await lock.acquire('p1:1', 'p1', { leaseMs: 1_000 }));
    const other = lock.lock.replace('{k}', '{k}:2');
    await lock.client.set(other, '17:p1:2', 'PX', 1_000);
    const keys = [lock.lock, other, `${other}:missing`];
    const values = [`${turn}:p1:1`, '90000 17:p1:2', '17:p1:3'];
    expect(await lock.client.lockRenew([3, ...keys, 5_000, ...values])).toEqual([3]);
    expect(await lock.ttl()).toBeLessThanOrEqual(5_000);
    expect(await lock.client.pttl(other)).toBeGreaterThan(80_000);
    await lock.client.del(other);
  });
});

describeScripts('a release', () => {
  it('wakes the process that has waited longest, and only that', async () => {
    for (const process of ['p1', 'p2', 'p3']) await lock.listen(process);
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.acquire('p3:1', 'p3', { wait: true });
    expect(await lock.release('p1:1', 'p1')).toEqual([1, 1]);
    await lock.hears('p2');
    expect([lock.heard('p3'), await lock.queue()]).toEqual([0, ['p3']]);
  });

  it('wakes the next also when the key was gone already', async () => {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.client.del(lock.lock);
    expect(await lock.release('p1:1', 'p1')).toEqual([0, 1]);
    await lock.hears('p2');
  });

  it('passes a wake-up on that nobody needs', async () => {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.client.del(lock.lock);
    expect(await lock.release('', 'p1')).toEqual([0, 1]);
    await lock.hears('p2');
  });

  it('of a key that somebody else has takes the process out of the queue, unless callers wait', async () => {
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    expect(await lock.release('p2:1', 'p2', { more: true })).toEqual([-1, 0]);
    expect(await lock.queue()).toEqual(['p2']);
    expect(await lock.release('p2:1', 'p2')).toEqual([-1, 0]);
    expect(await lock.queue()).toEqual([]);
  });

  it('skips processes that are dead', async () => {
    for (const process of ['p2', 'p3', 'p4']) await lock.listen(process);
    await lock.acquire('p1:1', 'p1');
    for (const process of ['p2', 'p3', 'p4'])
      await lock.acquire(`${process}:1`, process, { wait: true });
    await lock.kill('p2');
    await lock.kill('p3');
    expect(await lock.release('p1:1', 'p1')).toEqual([1, 1]);
    await lock.hears('p4');
    expect([await lock.value(), await lock.queue()]).toEqual([null, []]);
  });
});

describeScripts('a turn that is passed', () => {
  it('goes on if only dead processes wait', async () => {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.kill('p2');
    expect(await lock.pass('p1:1', 'p1')).toEqual([1, expect.any(String)]);
    expect(await lock.value()).toMatch(/:p1:1$/);
  });

  it('does not count the process itself as one that waits', async () => {
    await lock.listen('p1');
    await lock.acquire('p1:1', 'p1', { more: true });
    expect(await lock.queue()).toEqual(['p1']);
    expect(await lock.pass('p1:1', 'p1')).toEqual([1, expect.any(String)]);
    expect([lock.heard('p1'), await lock.queue()]).toEqual([0, []]);
  });

  it('goes to the process that is woken, and this one is queued behind', async () => {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1', { more: true });
    const [, , , waitsSince] = await lock.acquire('p2:1', 'p2', { wait: true });
    const [outcome, since] = (await lock.pass('p1:1', 'p1')) as [number, string];
    expect([outcome, await lock.value(), await lock.queue()]).toEqual([2, null, ['p1']]);
    expect(Number(since)).toBeGreaterThan(Number(waitsSince));
    await lock.hears('p2');
  });

  it('is refused to everybody else, and then changes nothing', async () => {
    await lock.listen('p3');
    await lock.acquire('p2:1', 'p2');
    await lock.acquire('p3:1', 'p3', { wait: true });
    expect(await lock.pass('p1:1', 'p1')).toEqual([0]);
    expect([await lock.queue(), lock.heard('p3')]).toEqual([['p3'], 0]);
    expect(await lock.value()).toMatch(/:p2:1$/);
  });
});

describeScripts('a process that has waited for long', () => {
  async function reserved(): Promise<void> {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await until('its patience to end', async () => {
      const [since] = (await lock.client.zrange(lock.waiting, 0, 0, 'WITHSCORES')).slice(1);
      const [seconds, micros] = await lock.client.time();
      return Number(seconds) * 1e6 + Number(micros) - Number(since) > 110_000;
    });
    await lock.release('p1:1', 'p1', { patienceMs: 100, claimMs: 2_000 });
  }

  it('has the key reserved when it is woken; all others are busy for as long as the claim', async () => {
    await reserved();
    expect(await lock.value()).toBe('r:p2');
    const [granted, ttl, holder] = await lock.acquire('p1:2', 'p1');
    expect([granted, holder]).toEqual([0, 'p2']);
    expect(ttl).toBeGreaterThan(1_000);
    expect(ttl).toBeLessThanOrEqual(2_000);
    expect(await lock.acquire('p2:1', 'p2')).toEqual([1, expect.any(String)]);
  });

  it('control: one that has not waited for long may be overtaken', async () => {
    await lock.listen('p2');
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.release('p1:1', 'p1', { patienceMs: 60_000 });
    expect(await lock.value()).toBeNull();
    expect(await lock.acquire('p1:2', 'p1')).toEqual([1, expect.any(String)]);
  });

  it('gives the reservation to the next if its callers have left, and keeps it if they wait', async () => {
    await reserved();
    await lock.listen('p3');
    await lock.acquire('p3:1', 'p3', { wait: true });
    expect(await lock.release('p2:1', 'p2', { more: true })).toEqual([0, 0]);
    expect(await lock.value()).toBe('r:p2');
    expect(await lock.release('p2:1', 'p2')).toEqual([0, 1]);
    await lock.hears('p3');
  });

  it('holds nobody up longer than the claim', async () => {
    await reserved();
    await lock.client.pexpire(lock.lock, 1);
    await until('the claim to end', async () => (await lock.value()) === null);
    expect(await lock.acquire('p1:2', 'p1')).toEqual([1, expect.any(String)]);
  });

  it('keeps its place when it is overtaken', async () => {
    await lock.acquire('p1:1', 'p1');
    const [, , , since] = (await lock.acquire('p2:1', 'p2', { wait: true })) as [
      0,
      number,
      string,
      string,
    ];
    await lock.acquire('p3:1', 'p3', { wait: true });
    await lock.client.zrem(lock.waiting, 'p2'); // woken, and overtaken
    expect(await lock.acquire('p2:1', 'p2', { wait: true, since })).toEqual([
      0,
      expect.any(Number),
      'p1:1',
      since,
    ]);
    expect(await lock.queue()).toEqual(['p2', 'p3']);
  });

  it('control: without its former place it stands at the end', async () => {
    await lock.acquire('p1:1', 'p1');
    await lock.acquire('p2:1', 'p2', { wait: true });
    await lock.acquire('p3:1', 'p3', { wait: true });
    await lock.client.zrem(lock.waiting, 'p2');
    await lock.acquire('p2:1', 'p2', { wait: true });
    expect(await lock.queue()).toEqual(['p3', 'p2']);
  });

  it('stands where the queue says, not where it says itself', async () => {
    await lock.acquire('p1:1', 'p1');
    const [, , , since] = (await lock.acquire('p2:1', 'p2', { wait: true })) as [
      0,
      number,
      string,
      string,
    ];
    const [, , , answer] = await lock.acquire('p2:1', 'p2', { wait: true, since: '1' });
    expect(answer).toBe(since);
  });
});

describeScripts('turn numbers', () => {
  it('are above what the process has seen, what the key has seen, and the clock', async () => {
    const far = 9_000_000_000_000_000;
    expect(turnOf(await lock.acquire('p1:1', 'p1', { seen: far }))).toBe(String(far + 1));
    await lock.release('p1:1', 'p1');
    expect(turnOf(await lock.acquire('p1:2', 'p1'))).toBe(String(far + 2));
    expect(await lock.pass('p1:2', 'p1')).toEqual([1, String(far + 3)]);
    await lock.client.del(lock.lock, lock.fence);
    const [seconds] = await lock.client.time();
    const byClock = Number(turnOf(await lock.acquire('p1:3', 'p1')));
    expect(byClock).toBeGreaterThanOrEqual(Number(seconds) * 1e6);
    expect(byClock).toBeLessThan(far);
  });

  it('are remembered for a day, after an acquire and after a pass', async () => {
    const day = 24 * 3_600_000;
    await lock.acquire('p1:1', 'p1');
    expect(await lock.client.pttl(lock.fence)).toBeGreaterThan(day - 60_000);
    await lock.client.persist(lock.fence);
    await lock.pass('p1:1', 'p1');
    const ttl = await lock.client.pttl(lock.fence);
    expect(ttl).toBeGreaterThan(day - 60_000);
    expect(ttl).toBeLessThanOrEqual(day);
  });

  it('and places are forgotten by themselves', async () => {
    await lock.acquire('p1:1', 'p1', { more: true });
    await lock.acquire('p2:1', 'p2', { wait: true });
    const ttl = await lock.client.pttl(lock.waiting);
    expect(ttl).toBeGreaterThan(500_000);
    expect(ttl).toBeLessThanOrEqual(600_000);
  });
});
