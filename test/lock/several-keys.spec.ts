import { beforeEach, describe, expect, it } from 'vitest';
import {
  LockLostError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import { lockKeys } from '../../src/distributed-lock/key/lock-key.js';
import { memoryStore } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { inOneWorld, Managed } from './managed.js';
import { ScriptedStore } from './scripted.lock-store.js';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('several keys', () => {
  let locks: Managed<ScriptedStore>;
  beforeEach(() => {
    locks = new Managed(new ScriptedStore());
  });

  it('are acquired in sorted order, without duplicates, and given back', async () => {
    const hold = await locks.enter(['c', 'a', 'b', 'a']);
    expect(hold.keys).toEqual(['a', 'b', 'c']);
    expect(hold).toMatchObject({ key: 'a', owner: 'owner-1', fencingToken: 1n });
    expect([...hold.fencingTokens]).toEqual([
      ['a', 1n],
      ['b', 2n],
      ['c', 3n],
    ]);
    expect(hold.isHeld()).toBe(true);
    expect(await hold.release()).toBe('released');
    expect(await hold.release()).toBe('not-held');
    expect(locks.store.asked).toEqual([
      'acquire a',
      'acquire b',
      'acquire c',
      'release c',
      'release b',
      'release a',
    ]);
  });

  it('are all given back when one cannot be had, the cause being the caller’s error', async () => {
    const down = new LockStoreUnavailableError('scripted', 'c', 'down');
    locks.store.answerAcquire = async (request) => {
      if (request.key === 'c') throw down;
      return locks.store.grant(request);
    };
    await expect(locks.enter(['a', 'b', 'c', 'd'])).rejects.toBe(down);
    expect(locks.store.asked).toEqual([
      'acquire a',
      'acquire b',
      'acquire c',
      'release b',
      'release a',
    ]);
  });

  it('share one wait time', async () => {
    const waits: number[] = [];
    locks.store.answerAcquire = async (request) => {
      waits.push(request.waitTimeMs);
      await new Promise((resolve) => setTimeout(resolve, 30));
      return request.key === 'c' ? null : locks.store.grant(request);
    };
    await expect(locks.enter(['a', 'b', 'c'], { waitTimeMs: 500 })).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
      key: 'c',
    });
    expect(waits[0]).toBeLessThanOrEqual(500);
    expect(waits[1]).toBeLessThanOrEqual(waits[0]! - 25);
    expect(waits[2]).toBeLessThanOrEqual(waits[1]! - 25);
  });

  it('are lost as soon as one of them is', async () => {
    const hold = await locks.enter(['a', 'b']);
    const { lost } = hold;
    expect(lost.aborted).toBe(false);
    locks.store.grants[1]!.onLost!('taken-over');
    expect(lost.aborted).toBe(true);
    expect(lost.reason).toMatchObject({ key: 'b', reason: 'taken-over' });
    expect(hold.isHeld()).toBe(false);
    expect(() => hold.assertHeld()).toThrow(LockLostError);
    expect(() => hold.assertNotLost()).toThrow(LockLostError);
    expect(await hold.release()).toBe('not-held');
    expect(locks.store.asked).toContain('release a');
  });

  it('tell of the loss also when nobody keeps the signal but its listener', async () => {
    const hold = await locks.enter(['a', 'b']);
    let heard: unknown;
    hold.lost.addEventListener('abort', (event) => {
      heard = (event.target as AbortSignal).reason;
    });
    locks.store.grants[0]!.onLost!('expired');
    expect(heard).toMatchObject({ key: 'a' });
  });

  it('are all given back even where one release fails', async () => {
    const down = new LockStoreUnavailableError('scripted', 'b', 'down');
    locks.store.answerRelease = async ({ key }) => {
      if (key === 'b') throw down;
      return 'released';
    };
    const hold = await locks.enter(['a', 'b', 'c']);
    await expect(hold.release()).rejects.toBe(down);
    expect(locks.types.toSorted()).toEqual([
      'acquired',
      'acquired',
      'acquired',
      'release-failed',
      'released',
      'released',
    ]);
    const second = await locks.enter(['a', 'b', 'c']);
    await second.end();
  });

  it('are renewed together', async () => {
    const hold = await locks.enter(['a', 'b']);
    await hold.renew('10s');
    expect(locks.store.renewals.flatMap(({ keys }) => keys)).toEqual(['a', 'b']);
  });

  it('are abandoned together', async () => {
    const hold = await locks.enter(['a', 'b']);
    hold.abandon();
    await hold.end();
    expect(locks.store.asked.slice(2)).toEqual(['abandon a', 'abandon b']);
  });

  it('each can be joined by a nested call; others are acquired', async () => {
    await locks.locked(['a', 'b'], async () => {
      await locks.locked('b', async () => undefined);
      await locks.locked(['a', 'c'], async (inner) => expect(inner.keys).toEqual(['a', 'c']));
    });
    expect(locks.store.asked.filter((it) => it.startsWith('acquire'))).toEqual([
      'acquire a',
      'acquire b',
      'acquire c',
    ]);
    expect(locks.store.asked.filter((it) => it.startsWith('release')).toSorted()).toEqual([
      'release a',
      'release b',
      'release c',
    ]);
  });

  it('must be at least one', async () => {
    await expect(
      locks.manager.enter([], { waitTimeMs: 0, leaseTimeMs: 100, renew: true }),
    ).rejects.toThrow(RangeError);
  });

  it('asked for in opposite orders, by many callers, do not block each other', async () => {
    const managers = await inOneWorld(2);
    let inside = 0;
    let done = 0;
    const call = (locksOfOne: Managed, keys: readonly string[]) =>
      locksOfOne.locked(
        keys,
        async () => {
          expect((inside += 1)).toBe(1);
          await turn();
          inside -= 1;
          done += 1;
        },
        { waitTimeMs: 10_000 },
      );
    await Promise.all(
      managers.flatMap((it) =>
        Array.from({ length: 25 }, (_, n) => call(it, n % 2 ? ['a', 'b'] : ['b', 'a'])),
      ),
    );
    expect(done).toBe(50);
  });

  it('control: the same calls, each acquiring in its own order, do block each other', async () => {
    const store = memoryStore();
    const managed = new Managed(store);
    const inOwnOrder = async (first: string, second: string) => {
      const one = await managed.enter(first);
      await turn();
      try {
        await (await managed.enter(second, { waitTimeMs: 50 })).release();
      } finally {
        await one.release();
      }
    };
    const results = await Promise.allSettled([inOwnOrder('a', 'b'), inOwnOrder('b', 'a')]);
    expect(results.map((it) => it.status)).toContain('rejected');
  });
});

it('keys are sorted where they are read, for every caller alike', () => {
  expect(lockKeys(['b', 'a', 'b'])).toEqual(['a', 'b']);
});
