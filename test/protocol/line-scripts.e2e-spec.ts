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

const isIn = (reply: AcquireReply): boolean => reply[0] === 1;
const turnOf = (reply: AcquireReply): string => (reply[0] === 1 ? reply[1] : 'not inside');
const listen = (...processes: string[]) => Promise.all(processes.map((it) => lock.listen(it)));

describeScripts('whoever leaves the line', () => {
  it('lets in all that may be together, and the next one is told when to look', async () => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('x:a.line:1');
    for (const place of ['s:a.line:2', 's:b.line:1', 'x:c.line:1', 's:b.line:2'])
      expect(isIn(await lock.enter(place, { wait: true }))).toBe(false);
    expect(await lock.leave('x:a.line:1', { claimMs: 700 })).toBe(1);
    expect(await lock.holders()).toEqual(['a.line:2', 'b.line:1']);
    expect(await lock.queue(), 'a reader behind the writer stays').toEqual([
      'x:c.line:1',
      's:b.line:2',
    ]);
    await lock.hears('c.line');
    expect(lock.messages.toSorted()).toEqual([
      'a.line 0 s:a.line:2 k',
      'b.line 0 s:b.line:1 k',
      'c.line 700 x:c.line:1 k',
    ]);
  });

  it('passes dead callers over, whatever they wait for', async () => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('x:a.line:1');
    await lock.enter('x:b.line:1', { wait: true });
    await lock.enter('s:b.line:2', { wait: true });
    await lock.enter('x:c.line:1', { wait: true });
    await lock.kill('b.line');
    expect(await lock.leave('x:a.line:1')).toBe(1);
    expect(await lock.value()).toMatch(/:c\.line:1$/);
    expect(await lock.queue()).toEqual([]);
  });

  it.each([
    ['caller', 'x:d.line:1'],
    ['process that waits for a turn', 'd'],
  ])('tells the next one that lives when to look, past a dead %s', async (_, dead) => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('x:a.line:1');
    await lock.enter('x:b.line:1', { wait: true });
    await lock.client.zadd(lock.waiting, Date.now() * 1_000, dead); // it came between them
    await lock.enter('x:c.line:1', { wait: true });
    expect(await lock.leave('x:a.line:1', { claimMs: 700 })).toBe(1);
    await lock.hears('c.line');
    expect(lock.messages).toContain('c.line 700 x:c.line:1 k');
    expect(await lock.queue()).toEqual(['x:c.line:1']);
  });

  it('lets in those behind a dead one that may be together', async () => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('x:a.line:1');
    for (const place of ['s:b.line:1', 'x:d.line:1', 's:c.line:1'])
      await lock.enter(place, { wait: true });
    expect(await lock.leave('x:a.line:1')).toBe(1);
    expect(await lock.holders()).toEqual(expect.arrayContaining(['b.line:1', 'c.line:1']));
    expect(await lock.queue()).toEqual([]);
  });

  it('control: where receivers cannot be counted, a dead one costs its claim', async () => {
    await lock.enter('x:a.line:1');
    await lock.enter('x:b.line:1', { wait: true });
    await lock.leave('x:a.line:1', { counted: false, claimMs: 60 });
    expect(await lock.value()).toMatch(/:b\.line:1$/);
    await until('the claim', async () => (await lock.value()) === null);
    expect(isIn(await lock.enter('x:c.line:1'))).toBe(true);
  });

  it('leaves the key to a process that waits for a turn, reserved', async () => {
    await listen('p', 'p.line', 'b.line');
    await lock.enter('s:a.line:1');
    await lock.acquire('p:1', 'p', { wait: true });
    expect(isIn(await lock.enter('s:b.line:1', { wait: true })), 'does not overtake it').toBe(
      false,
    );
    await lock.leave('s:a.line:1');
    expect(await lock.value()).toBe('r:p');
    expect(isIn(await lock.enter('s:b.line:1', { wait: true }))).toBe(false);
    expect((await lock.acquire('p:1', 'p'))[0]).toBe(1);
    await lock.release('p:1', 'p');
    expect(await lock.holders()).toEqual(['b.line:1']);
  });
});

describeScripts('a process that waits for a turn', () => {
  it('and dies between readers keeps nobody out', async () => {
    await listen('p', 'p.line');
    await lock.enter('s:a.line:1');
    await lock.acquire('p:1', 'p', { wait: true });
    expect(isIn(await lock.enter('s:b.line:1', { wait: true })), 'control: it lives').toBe(false);
    await lock.kill('p');
    await lock.kill('p.line');
    expect(isIn(await lock.enter('s:b.line:1', { wait: true }))).toBe(true);
    expect(await lock.holders()).toEqual(['a.line:1', 'b.line:1']);
    expect(await lock.queue()).toEqual([]);
  });

  it('and gives up between readers lets those behind it in', async () => {
    await listen('p', 'p.line', 'b.line');
    await lock.enter('s:a.line:1');
    await lock.acquire('p:1', 'p', { wait: true });
    await lock.enter('s:b.line:1', { wait: true });
    await lock.release('p:1', 'p');
    expect(await lock.holders()).toEqual(expect.arrayContaining(['a.line:1', 'b.line:1']));
    expect(await lock.queue()).toEqual([]);
  });

  it('and is passed the key by another process hands it to the line in its turn', async () => {
    await listen('b.line');
    await lock.acquire('p:1', 'p');
    await lock.enter('x:b.line:1', { wait: true });
    const [outcome] = (await lock.pass('p:1', 'p')) as [number];
    expect(outcome).toBe(2);
    expect(await lock.value()).toMatch(/:b\.line:1$/);
    expect(await lock.queue()).toEqual(['p']);
  });

  it('goes on with its turn if those in the line are dead', async () => {
    await lock.acquire('p:1', 'p');
    await lock.enter('x:b.line:1', { wait: true });
    const [outcome] = (await lock.pass('p:1', 'p')) as [number];
    expect(outcome).toBe(1);
    expect(await lock.value()).toMatch(/:p:1$/);
  });

  it('and holds the key keeps all out, as they keep it', async () => {
    await lock.acquire('p:1', 'p');
    for (const place of ['x:a.line:1', 's:a.line:2', 'p3:a.line:3'])
      expect(isIn(await lock.enter(place))).toBe(false);
    await lock.release('p:1', 'p');
    for (const place of ['x:a.line:1', 's:a.line:2', 'p3:a.line:3']) {
      expect(isIn(await lock.enter(place))).toBe(true);
      expect((await lock.acquire('p:2', 'p'))[0]).toBe(0);
      await lock.leave(place);
    }
  });
});

describeScripts('a caller that was let in and is frozen', () => {
  it('loses its claim to the next one, and keeps its place', async () => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('x:a.line:1');
    const [, , , since] = await lock.enter('x:b.line:1', { wait: true });
    await lock.enter('x:c.line:1', { wait: true });
    await lock.leave('x:a.line:1', { claimMs: 40 });
    expect(isIn(await lock.enter('x:c.line:1', { wait: true })), 'the claim counts').toBe(false);
    await until('the claim', async () => (await lock.value()) === null);
    expect(isIn(await lock.enter('x:c.line:1', { wait: true }))).toBe(true);
    // It thaws and goes on where it stood: before those who came later.
    await lock.enter('x:d.line:1', { wait: true });
    expect(isIn(await lock.enter('x:b.line:1', { wait: true, since: since! }))).toBe(false);
    expect(await lock.queue()).toEqual(['x:b.line:1', 'x:d.line:1']);
  });

  it('a permit of it is free again when the claim is over', async () => {
    await listen('a.line', 'b.line', 'c.line');
    await lock.enter('p2:a.line:1');
    await lock.enter('p2:a.line:2');
    for (const place of ['p2:b.line:1', 'p2:c.line:1']) await lock.enter(place, { wait: true });
    await lock.leave('p2:a.line:1', { claimMs: 40 });
    expect(await lock.holders()).toEqual(['b.line:1', 'a.line:2']);
    const [inside, pttl, holder] = await lock.enter('p2:c.line:1', { wait: true, claimMs: 40 });
    expect([inside, holder]).toEqual([0, 'b.line:1']);
    expect(pttl, 'until the claim is over').toBeLessThanOrEqual(40);
    await until('the permit', async () => isIn(await lock.enter('p2:c.line:1', { wait: true })));
    expect(await lock.holders()).toEqual(expect.arrayContaining(['a.line:2', 'c.line:1']));
  });
});

describeScripts('a command that is sent again', () => {
  it('enter: is the same hold, and never shortens its lease', async () => {
    const turn = turnOf(await lock.enter('x:a.line:1', { leaseMs: 60_000 }));
    expect(await lock.enter('x:a.line:1', { leaseMs: 1_000 })).toEqual([1, turn]);
    expect(await lock.ttl()).toBeGreaterThan(50_000);
    await lock.leave('x:a.line:1');
    for (const place of ['s:a.line:2', 'p2:a.line:3']) {
      await lock.enter(place, { leaseMs: 60_000 });
      expect(isIn(await lock.enter(place, { leaseMs: 1_000 }))).toBe(true);
      expect(await lock.ttl()).toBeGreaterThan(50_000);
      expect(await lock.holders()).toHaveLength(1);
      await lock.leave(place);
    }
  });

  it('enter: keeps one place', async () => {
    await lock.enter('x:a.line:1');
    for (let n = 0; n < 3; n += 1) await lock.enter('s:b.line:1', { wait: true });
    expect(await lock.queue()).toEqual(['s:b.line:1']);
  });

  it('leave: frees nobody else', async () => {
    await lock.enter('s:a.line:1');
    expect(await lock.leave('s:a.line:1')).toBe(1);
    await lock.enter('s:b.line:1');
    expect(await lock.leave('s:a.line:1')).toBe(0);
    expect(await lock.leave('x:b.line:1'), 'of another kind').toBe(0);
    expect(await lock.leave('p2:b.line:1'), 'of another kind').toBe(0);
    expect(await lock.holders()).toEqual(['b.line:1']);
    await lock.leave('s:b.line:1');
    await lock.enter('x:c.line:1');
    expect(await lock.leave('x:b.line:2')).toBe(0);
    expect(await lock.value()).toMatch(/:c\.line:1$/);
  });

  it('enter, late: the owner that it lets in is named to the others, and its leave puts it out', async () => {
    await lock.enter('x:a.line:1');
    await lock.leave('x:a.line:1');
    await lock.enter('x:a.line:1', { leaseMs: 60_000 });
    const [inside, , holder] = await lock.enter('x:a.line:2', { wait: true });
    expect([inside, holder]).toEqual([0, 'a.line:1']);
    await lock.leave('x:a.line:1');
    expect(isIn(await lock.enter('x:a.line:2'))).toBe(true);
  });
});

describeScripts('a renewal in the line', () => {
  it('is for the very turn, and makes nothing', async () => {
    const turn = turnOf(await lock.enter('x:a.line:1', { leaseMs: 1_000 }));
    expect(await lock.stay(`${turn}:a.line:1`, 'a.line:1', 60_000)).toEqual([1]);
    expect(await lock.ttl()).toBeGreaterThan(50_000);
    await lock.client.del(lock.lock); // the data is lost …
    const late = turnOf(await lock.enter('x:a.line:1', { leaseMs: 1_000 })); // … and a late copy arrives
    expect(late > turn).toBe(true);
    expect(await lock.stay(`${turn}:a.line:1`, 'a.line:1', 60_000)).toEqual([0]);
    expect(await lock.ttl()).toBeLessThanOrEqual(1_000);
  });

  it('of a shared holder lengthens its own lease only, and revives nobody', async () => {
    await lock.enter('s:a.line:1', { leaseMs: 40 });
    await lock.enter('s:b.line:1', { leaseMs: 60_000 });
    await until('the lease', async () => {
      const [score] = [await lock.client.zscore(lock.held, 'a.line:1')];
      const [seconds, micros] = await lock.client.time();
      return Number(score) < Number(seconds) * 1_000 + Number(micros) / 1_000;
    });
    expect(await lock.stay('q:s', 'a.line:1', 60_000)).toEqual([0]);
    expect(await lock.stay('q:s', 'b.line:1', 90_000)).toEqual([1]);
    expect(await lock.ttl()).toBeGreaterThan(80_000);
    expect(await lock.stay('q:s', 'b.line:1', 1_000), 'never shortens').toEqual([1]);
    expect(await lock.ttl()).toBeGreaterThan(80_000);
    expect(await lock.stay('q:p', 'b.line:1', 1_000)).toEqual([0]);
    expect(await lock.stay('q:s', 'c.line:1', 60_000)).toEqual([0]);
  });

  it('does not honour holders whose lock key was lost, and the next one starts without them', async () => {
    await lock.enter('s:a.line:1');
    await lock.client.del(lock.lock); // evicted
    expect(await lock.stay('q:s', 'a.line:1', 60_000)).toEqual([0]);
    expect(isIn(await lock.enter('s:b.line:1'))).toBe(true);
    expect(await lock.stay('q:s', 'a.line:1', 60_000)).toEqual([0]);
    expect(await lock.holders()).toEqual(['b.line:1']);
  });
});

describeScripts('a turn in the line', () => {
  it('is above every number that the asking process has seen, also when others let it in', async () => {
    await listen('b.line');
    const ahead = '9000000000000000'; // a clock that was set back since
    await lock.enter('x:a.line:1');
    await lock.enter('x:b.line:1', { wait: true });
    await lock.leave('x:a.line:1');
    expect(turnOf(await lock.enter('x:b.line:1', { seen: ahead }))).toBe('9000000000000001');
    expect(turnOf(await lock.enter('x:b.line:1', { seen: ahead })), 'sent again').toBe(
      '9000000000000001',
    );
  });

  it('and one of a process grow over each other', async () => {
    const turns = [turnOf(await lock.acquire('p:1', 'p'))];
    await lock.release('p:1', 'p');
    turns.push(turnOf(await lock.enter('x:a.line:1')));
    await lock.leave('x:a.line:1');
    turns.push(turnOf(await lock.acquire('p:2', 'p')));
    expect(turns).toEqual([...new Set(turns)].toSorted());
  });
});
