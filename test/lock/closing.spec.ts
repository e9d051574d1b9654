import { afterEach, describe, expect, it, vi } from 'vitest';
import { LockClosedError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { failureOf, gate, inOneWorld, Managed } from './managed.js';
import { ScriptedStore } from './scripted.lock-store.js';

async function twoProcesses(): Promise<{ closing: Managed; other: Managed }> {
  const [closing, other] = await inOneWorld(2);
  return { closing: closing!, other: other! };
}

describe('closing', () => {
  it('turns waiters away, lets holders finish, and takes the lock from who does not', async () => {
    const { closing, other } = await twoProcesses();
    const quick = gate();
    const finishes = closing.locked('finishes', () => quick.opened);
    const stuck = await closing.enter('stuck');
    const turnedAway = failureOf(closing.enter('stuck', { waitTimeMs: 60_000 }));

    const closed = closing.manager.close(60);
    expect(await turnedAway).toBeInstanceOf(LockClosedError);
    await expect(closing.enter('late')).rejects.toBeInstanceOf(LockClosedError);
    expect(stuck.isHeld(), 'within the grace time').toBe(true);
    quick.open();
    await finishes;
    await closed;

    expect(stuck.isHeld()).toBe(false);
    expect(stuck.lost.reason).toMatchObject({ code: 'LOCK_LOST', reason: 'closed' });
    expect(closing.happened.map((it) => `${it.type} ${it.key}`)).toEqual([
      'attempted finishes',
      'attempted stuck',
      'acquired finishes',
      'acquired stuck',
      'attempted stuck',
      'failed stuck',
      'attempted late',
      'failed late',
      'released finishes',
      'lost stuck',
    ]);
    for (const key of ['finishes', 'stuck'])
      await (await other.enter(key, { waitTimeMs: 0 })).release();
  });

  it('is done as soon as the last holder is', async () => {
    const { closing } = await twoProcesses();
    const done = gate();
    const holder = closing.locked('k', () => done.opened);
    await closing.enter('second').then((hold) => hold.release());
    const closed = closing.manager.close(60_000);
    done.open();
    await holder;
    await closed;
    expect(closing.types).toEqual(['acquired', 'acquired', 'released', 'released']);
  });

  it('without holders takes no time, and may be repeated', async () => {
    const { closing } = await twoProcesses();
    await closing.manager.close(60_000);
    await closing.manager.close(60_000);
    await expect(closing.enter('k')).rejects.toBeInstanceOf(LockClosedError);
  });

  it('waits for the answer to a release before it closes the store', async () => {
    const locks = new Managed(new ScriptedStore());
    const answer = gate();
    locks.store.answerRelease = async () => {
      await answer.opened;
      return 'released';
    };
    const hold = await locks.enter('k');
    const closed = locks.manager.close(60_000);
    const released = hold.release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(locks.store.asked).toEqual(['acquire k', 'stop', 'release k']);
    answer.open();
    expect(await released).toBe('released');
    await closed;
    expect(locks.store.asked).toEqual(['acquire k', 'stop', 'release k', 'close']);
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('does not wait for a release that gets no answer for longer than its grace time', async () => {
    const locks = new Managed(new ScriptedStore());
    locks.store.answerRelease = () => new Promise(() => {});
    const hold = await locks.enter('k');
    void hold.release();
    await locks.manager.close(30);
    expect(locks.store.asked.at(-1)).toBe('close');
  });
});

describe('listeners', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('that throw change nothing, and are reported as a warning', async () => {
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const locks = new Managed(new ScriptedStore());
    const boom = new Error('boom');
    locks.events.on(() => {
      throw boom;
    });
    const heard: string[] = [];
    locks.events.on(({ type }) => heard.push(type));
    expect(await locks.locked('k', async () => 'result')).toBe('result');
    const hold = await locks.enter('k');
    locks.store.grants.at(-1)!.onLost!('expired');
    expect(hold.isHeld()).toBe(false);
    expect(heard).toEqual(['attempted', 'acquired', 'released', 'attempted', 'acquired', 'lost']);
    expect(warnings).toHaveBeenCalledTimes(6);
    expect(warnings).toHaveBeenCalledWith(boom, 'DistributedLockListenerWarning');
  });

  it('can be taken away', async () => {
    const locks = new Managed(new ScriptedStore());
    const heard: string[] = [];
    const off = locks.events.on(({ type }) => heard.push(type));
    await locks.locked('k', async () => undefined);
    off();
    await locks.locked('k', async () => undefined);
    expect(heard).toEqual(['attempted', 'acquired', 'released']);
  });

  it('are told how long, by whom and with which token', async () => {
    const locks = new Managed(new ScriptedStore());
    await locks.locked('k', async () => undefined);
    const [attempted, acquired, released] = locks.happened;
    expect(attempted).toEqual({ type: 'attempted', key: 'k', waitTimeMs: 1_000 });
    const who = { key: 'k', owner: 'owner-1', fencingToken: 1n };
    expect(acquired).toMatchObject({ type: 'acquired', ...who, waitedMs: expect.any(Number) });
    expect(released).toMatchObject({ type: 'released', ...who, heldMs: expect.any(Number) });
  });
});

describe('an abort signal', () => {
  it('ends the wait with its reason; the event says so, and nothing is left behind', async () => {
    const { closing: holder, other } = await twoProcesses();
    const hold = await holder.enter('k');
    const abort = new AbortController();
    const waiter = other.enter('k', { waitTimeMs: 60_000 }, abort.signal);
    const reason = new Error('the request went away');
    abort.abort(reason);
    await expect(waiter).rejects.toBe(reason);
    expect(other.happened.at(-1)).toMatchObject({ type: 'failed', key: 'k', error: reason });
    await hold.release();
    await (await holder.enter('k', { waitTimeMs: 0 })).release();
  });

  it('that has fired already asks for nothing', async () => {
    const { other } = await twoProcesses();
    const reason = new Error('gone before it began');
    await expect(other.enter('k', {}, AbortSignal.abort(reason))).rejects.toBe(reason);
    await (await other.enter('k', { waitTimeMs: 0 })).release();
  });

  it('has no effect once the lock is held', async () => {
    const { other } = await twoProcesses();
    const abort = new AbortController();
    const hold = await other.enter('k', {}, abort.signal);
    abort.abort();
    expect(hold.isHeld()).toBe(true);
    expect(await hold.release()).toBe('released');
  });

  it('gives back the keys that were acquired before it fired', async () => {
    const { closing: holder, other } = await twoProcesses();
    const hold = await holder.enter('b');
    const abort = new AbortController();
    const failure = failureOf(other.enter(['a', 'b'], { waitTimeMs: 60_000 }, abort.signal));
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort('enough');
    expect(await failure).toBe('enough');
    await (await holder.enter('a', { waitTimeMs: 0 })).release();
    await hold.release();
  });
});
