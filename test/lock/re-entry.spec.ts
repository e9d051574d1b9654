import { beforeEach, describe, expect, it } from 'vitest';
import {
  LockLostError,
  LockWaitTimeoutError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import { currentHold } from '../../src/distributed-lock/lock/current-hold.js';
import { memoryStore } from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { until } from '../support/until.js';
import { gate, Managed } from './managed.js';
import { ScriptedStore } from './scripted.lock-store.js';

/** Lets everything run that does not wait for a timer. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('the same key in the same call chain', () => {
  let locks: Managed<ScriptedStore>;
  beforeEach(() => {
    locks = new Managed(new ScriptedStore());
  });

  it('joins the hold: the store is asked once and told once', async () => {
    await locks.locked('k', async (outer) => {
      await locks.locked('k', async (inner) => {
        expect(inner.fencingToken).toBe(outer.fencingToken);
        expect(inner.owner).toBe(outer.owner);
        expect(await inner.release()).toBe('released');
        expect(await inner.release(), 'twice').toBe('not-held');
        expect(outer.isHeld(), 'only the outermost call releases').toBe(true);
        await locks.locked('k', async () => undefined);
      });
    });
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('survives a throwing nested call', async () => {
    const boom = new Error('boom');
    await locks.locked('k', async (outer) => {
      await expect(locks.locked('k', () => Promise.reject(boom))).rejects.toBe(boom);
      expect(outer.isHeld()).toBe(true);
      await locks.locked('k', async () => undefined);
    });
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
  });

  it('lets siblings in one after the other, in order', async () => {
    const log: string[] = [];
    let inside = 0;
    await locks.locked('k', () =>
      Promise.all(
        ['a', 'b', 'c', 'd'].map((name) =>
          locks.locked('k', async () => {
            expect((inside += 1), 'siblings inside at the same time').toBe(1);
            await turn();
            log.push(name);
            inside -= 1;
          }),
        ),
      ),
    );
    expect(log).toEqual(['a', 'b', 'c', 'd']);
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
  });

  it('control: without the lock, those siblings are inside at the same time', async () => {
    let inside = 0;
    let most = 0;
    await Promise.all(
      ['a', 'b'].map(async () => {
        most = Math.max(most, (inside += 1));
        await turn();
        inside -= 1;
      }),
    );
    expect(most).toBe(2);
  });

  it('nests to any depth without waiting for itself', async () => {
    const log: string[] = [];
    const enter = (name: string, work = async () => {}) =>
      locks.locked('k', async () => {
        log.push(`>${name}`);
        await turn();
        await work();
        log.push(`<${name}`);
      });
    await enter('a', async () => {
      await Promise.all([
        enter('b', async () => {
          await Promise.all([enter('c', () => enter('d')), enter('e')]);
        }),
        enter('f'),
      ]);
    });
    expect(log.join(' ')).toBe('>a >b >c >d <d <c >e <e <b >f <f <a');
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
  });

  it('keeps a sibling out while nested work of the one before is still inside', async () => {
    const floating = gate();
    const log: string[] = [];
    await locks.locked('k', async () => {
      await locks.locked('k', async () => {
        void locks.locked('k', async () => {
          await floating.opened;
          log.push('floating work of the first');
        });
      });
      const second = locks.locked('k', async () => void log.push('second'));
      await turn();
      expect(log).toEqual([]);
      floating.open();
      await second;
    });
    expect(log).toEqual(['floating work of the first', 'second']);
  });

  it('gives the caller its result, and keeps the lock until nested work nobody awaited has ended', async () => {
    const floating = gate();
    let nested: Promise<void> | undefined;
    const result = await locks.locked('k', async () => {
      nested = locks.locked('k', () => floating.opened);
      return 'result';
    });
    expect(result).toBe('result');
    expect(locks.store.asked).toEqual(['acquire k']);
    floating.open();
    await nested;
    await until('the release', () => locks.store.asked.length === 2);
    expect(locks.store.asked).toEqual(['acquire k', 'release k']);
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('is over at the end of the call: floating work has no hold and acquires anew', async () => {
    const over = gate();
    let floating: Promise<string> | undefined;
    await locks.locked('k', async (hold) => {
      expect(currentHold()).toBe(hold);
      floating = (async () => {
        await over.opened;
        expect(currentHold()).toBeUndefined();
        return locks.locked('k', async (own) => {
          expect(currentHold()).toBe(own);
          return own.owner;
        });
      })();
    });
    expect(currentHold()).toBeUndefined();
    over.open();
    expect(await floating).toBe('owner-2');
    expect(locks.store.asked).toEqual(['acquire k', 'release k', 'acquire k', 'release k']);
  });

  it('after a loss is not joined: the store is asked', async () => {
    await locks.locked('k', async () => {
      locks.store.grants[0]!.onLost!('taken-over');
      expect(currentHold()).toBeUndefined();
      await locks.locked('k', async (own) => expect(own.owner).toBe('owner-2'));
    });
    expect(locks.store.asked.filter((it) => it === 'acquire k')).toHaveLength(2);
  });

  it('times out behind a sibling, and tries only once with a wait time of 0', async () => {
    const first = gate();
    await locks.locked('k', async (outer) => {
      const busy = locks.locked('k', () => first.opened);
      for (const waitTimeMs of [0, 20]) {
        await expect(
          locks.locked('k', async () => expect.unreachable(), { waitTimeMs }),
        ).rejects.toMatchObject({ code: 'LOCK_WAIT_TIMEOUT', waitTimeMs });
      }
      first.open();
      await busy;
      expect(outer.isHeld()).toBe(true);
      await locks.locked('k', async () => undefined);
    });
  });

  it('does not time out early: the wait time is that of the nested call', async () => {
    await expect(
      locks.locked('k', async () => {
        const busy = locks.locked('k', turn);
        await locks.locked('k', async () => 'second', { waitTimeMs: 5_000 });
        await busy;
        throw new LockWaitTimeoutError('other', 1);
      }),
    ).rejects.toMatchObject({ key: 'other' });
  });

  it('has as many siblings as it likes: Node does not take their waiting for a leak', async () => {
    const warnings: unknown[] = [];
    const listen = (warning: Error) => warnings.push(warning.name);
    process.on('warning', listen);
    try {
      await locks.locked('k', () =>
        Promise.all(Array.from({ length: 50 }, () => locks.locked('k', turn))),
      );
      await turn();
    } finally {
      process.off('warning', listen);
    }
    expect(warnings).toEqual([]);
  });

  it('stops waiting behind a sibling when it is aborted, or when the lock is lost', async () => {
    const first = gate();
    const reason = new Error('the request went away');
    await locks.locked('k', async () => {
      const busy = locks.locked('k', () => first.opened);
      const abort = new AbortController();
      const aborted = locks.enter('k', {}, abort.signal);
      const losing = locks.enter('k');
      abort.abort(reason);
      await expect(aborted).rejects.toBe(reason);
      locks.store.grants[0]!.onLost!('taken-over');
      await expect(losing).rejects.toBeInstanceOf(LockLostError);
      first.open();
      await busy;
    });
  });
});

describe('an equal key', () => {
  it('of another manager is another lock', async () => {
    const [one, other] = [new Managed(new ScriptedStore()), new Managed(new ScriptedStore())];
    await one.locked('k', async () => {
      expect(one.manager.joins(['k' as never])).toBe(true);
      expect(other.manager.joins(['k' as never])).toBe(false);
      await other.locked('k', async () => {
        await one.locked('k', async () => undefined);
      });
    });
    expect(one.store.asked).toEqual(['acquire k', 'release k']);
    expect(other.store.asked).toEqual(['acquire k', 'release k']);
  });

  it('of another call chain waits its turn', async () => {
    const locks = new Managed(memoryStore());
    const first = gate();
    const log: string[] = [];
    const holder = locks.locked('k', async () => {
      await first.opened;
      log.push('first');
    });
    await until('the first to hold', () => locks.types.length === 1);
    const waiter = locks.locked('k', async () => void log.push('second'));
    await turn();
    first.open();
    await Promise.all([holder, waiter]);
    expect(log).toEqual(['first', 'second']);
    // The first is told of its release when the second is inside already; each on its own is in order.
    const owners = new Set(locks.happened.flatMap((it) => ('owner' in it ? [it.owner] : [])));
    expect(owners.size).toBe(2);
    for (const owner of owners) {
      const own = locks.happened.filter((it) => 'owner' in it && it.owner === owner);
      expect(own.map((it) => it.type)).toEqual(['acquired', 'released']);
    }
  });
});
