import { setTimeout as pause } from 'node:timers/promises';
import {
  DistributedLockService,
  type Hold,
  LockConfigurationError,
  type LockEvent,
  LockKeyError,
  LockLostError,
  LockStoreUnavailableError,
} from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { redlockStore } from 'nestjs-distributed-lock/redlock';
import { Redis } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { expect, it, onTestFinished } from 'vitest';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';
import { redisLocks } from './redis-locks.js';
import { Gate, NotedTransactions, startApp, storeWith } from './support.js';

/** A lease that is not renewed before these tests have ended: who is told, is told by a message. */
const LONG = { leaseTime: '60s', waitTime: '20s' } as const;

describeWith('redis')('an operator, over Redis', () => {
  /** Applications that share their locks, as so many servers do. */
  async function servers(
    count: number,
    options: Parameters<typeof redisLocks>[0] = {},
    namespace = `t-${randomUUID().slice(0, 8)}`,
  ): Promise<DistributedLockService[]> {
    const module = redisLocks({ shutdownGrace: 100, ...options }, namespace);
    const apps = await Promise.all(
      Array.from({ length: count }, () => startApp({ imports: [module] })),
    );
    return apps.map((app) => app.get(DistributedLockService));
  }

  it('sees who holds a lock and who waits, from any server', async () => {
    const [holding, waiting, looking] = await servers(3);
    const nobody = { key: 'job1', isHeld: false, holders: [], waiters: 0, keptForMs: null };
    expect(await looking!.stateOf('job1')).toEqual(nobody);
    const hold = await holding!.acquire('job1', LONG);
    const next = waiting!.acquire('job1', LONG);
    await until('it to wait', async () => (await looking!.stateOf('job1')).waiters === 1);
    const { isHeld, holders } = await looking!.stateOf('job1');
    expect(isHeld).toBe(true);
    expect(holders).toHaveLength(1);
    const { owner, mode, fencingToken, leaseLeftMs } = holders[0]!;
    expect(hold.owner.startsWith(`${owner}.`)).toBe(true);
    expect(mode).toBe('exclusive');
    expect(fencingToken).toBe(hold.fencingToken);
    expect(leaseLeftMs).toBeGreaterThan(50_000);
    expect(leaseLeftMs).toBeLessThanOrEqual(60_000);
    await hold.release();
    await (await next).release();
    expect(await looking!.stateOf('job1')).toEqual(nobody);
  });

  it('counts the callers of its own process one by one', async () => {
    const [here] = await servers(1);
    const hold = await here!.acquire('job1', LONG);
    const waiting = [1, 2, 3].map(() => here!.withLock('job1', LONG, async () => undefined));
    await until('all to wait', async () => (await here!.stateOf('job1')).waiters === 3);
    await hold.release();
    await Promise.all(waiting);
  });

  it('sees how long a key is kept closed', async () => {
    const [here, there] = await servers(2);
    await here!.withLock('job1', { holdAtLeast: '30s' }, async () => undefined);
    const { isHeld, keptForMs } = await there!.stateOf('job1');
    expect(isHeld).toBe(false);
    expect(keptForMs).toBeGreaterThan(20_000);
    expect(await there!.forceRelease('job1')).toBe(0);
    expect(await here!.tryAcquire('job1'), 'open').not.toBeNull();
  });

  it('ends a hold: the holder is told at once, the next one has a greater token, the old release frees nobody', async () => {
    const [holding, waiting, operator] = await servers(3);
    const events: LockEvent[] = [];
    for (const service of [holding!, operator!]) service.events.on((event) => events.push(event));
    const old = await holding!.acquire('job1', LONG);
    const next = waiting!.acquire('job1', LONG);
    expect(await operator!.forceRelease('job1')).toBe(1);
    const current = await next;
    await until('the holder to be told', () => old.lost.aborted);
    expect(old.lost.reason).toBeInstanceOf(LockLostError);
    expect(old.lost.reason).toMatchObject({ reason: 'taken-over' });
    expect(old.isHeld()).toBe(false);
    expect(current.fencingToken! > old.fencingToken!).toBe(true);
    expect(await old.release()).toBe('not-held');
    expect(current.isHeld()).toBe(true);
    await current.renew();
    expect(await holding!.tryAcquire('job1'), 'still held').toBeNull();
    expect(await current.release()).toBe('released');
    expect(events).toContainEqual({ type: 'force-released', key: 'job1', holds: 1 });
    expect(events).toContainEqual(expect.objectContaining({ type: 'lost', reason: 'taken-over' }));
  });

  it('control: without messages the holder is told by its next renewal, and not before', async () => {
    const store = (): object => ({
      store: redisStore({ connection: redisUrl(), wake: 'poll' }),
    });
    const namespace = `t-${randomUUID().slice(0, 8)}`;
    const [holding] = await servers(1, store(), namespace);
    const [operator] = await servers(1, store(), namespace);
    const [told, late] = await Promise.all([
      holding!.acquire('told', { leaseTime: '900ms' }),
      holding!.acquire('late', LONG),
    ]);
    for (const key of ['told', 'late']) {
      expect(await operator!.forceRelease(key)).toBe(1);
      expect(await operator!.tryAcquire(key), 'free').not.toBeNull();
    }
    await until('the next renewal', () => told.lost.aborted, { deadlineMs: 2_000 });
    expect(late.isHeld(), 'nobody has told it').toBe(true);
    expect(await late.release()).toBe('not-held');
    expect((await operator!.stateOf('late')).isHeld, 'the successor is untouched').toBe(true);
  });

  it('ends the call of the evicted holder: its transaction is rolled back, and the caller is told so', async () => {
    const transactions = new NotedTransactions();
    const namespace = `t-${randomUUID().slice(0, 8)}`;
    const [holding] = await servers(1, { transactions }, namespace);
    const [operator] = await servers(1, {}, namespace);
    const [inside, evicted] = [new Gate(), new Gate()];
    const call = holding!.withTransaction('job1', LONG, async ({ hold }) => {
      hold.lost.addEventListener('abort', () => evicted.open());
      inside.open();
      await evicted.opened;
    });
    const failure = call.catch((error: unknown) => error);
    await inside.opened;
    expect(await operator!.forceRelease('job1')).toBe(1);
    expect(await failure).toBeInstanceOf(LockLostError);
    expect(transactions.notes).toEqual(['START default', 'ROLLBACK']);
    expect(await operator!.tryAcquire('job1'), 'free').not.toBeNull();
  });

  it('ends all holds of a key that is shared, of one with permits, and that of a leader', async () => {
    const [here, there, operator] = await servers(3);
    const shared = [here!, there!].map((it) => it.acquire('page', { ...LONG, mode: 'shared' }));
    const permits = [1, 2, 3].map(() => here!.acquire('pool', { ...LONG, permits: 3 }));
    const holds: Hold[] = await Promise.all([...shared, ...permits]);
    const deposed = new Gate();
    const elected = new Gate();
    const leader = here!.lead('reports', {
      leaseTime: '60s',
      onElected: async () => elected.open(),
      onDeposed: async () => deposed.open(),
    });
    await elected.opened;
    for (const [key, mode, count] of [
      ['page', 'shared', 2],
      ['pool', 'permit', 3],
      ['reports', 'exclusive', 1],
    ] as const) {
      const { holders } = await operator!.stateOf(key);
      expect(holders.map((holder) => holder.mode)).toEqual(
        Array.from({ length: count }, () => mode),
      );
      expect(await operator!.forceRelease(key)).toBe(count);
    }
    await until('all to be told', () => holds.every(({ lost }) => lost.aborted));
    await deposed.opened;
    await leader.resign();
    for (const hold of holds) expect(await hold.release()).toBe('not-held');
    expect(await operator!.tryAcquire('page')).not.toBeNull();
  });

  it('ends holds again and again in the middle of contention: all callers are served, and nothing is left behind', async () => {
    const namespace = `t-${randomUUID().slice(0, 8)}`;
    const [operator, ...others] = await servers(4, {}, namespace);
    let [served, lost] = [0, 0];
    const options = (n: number): object =>
      [LONG, { ...LONG, fair: true }, { ...LONG, mode: 'shared' }][n % 3]!;
    const callers = others.flatMap((service) =>
      Array.from({ length: 12 }, async (_, n) => {
        for (let round = 0; round < 5; round += 1) {
          const hold = await service.acquire('hot', options(n + round));
          await pause(1);
          served += 1;
          if ((await hold.release()) === 'not-held') lost += 1;
        }
      }),
    );
    const storm = { ended: 0, over: false };
    const forcing = (async () => {
      while (!storm.over) {
        storm.ended += await operator!.forceRelease('hot');
        await pause(3);
      }
    })();
    await Promise.all(callers);
    storm.over = true;
    await forcing;
    expect(served).toBe(3 * 12 * 5);
    expect(storm.ended).toBeGreaterThan(10);
    expect(lost, 'control: holds were ended').toBeGreaterThan(0);
    const client = new Redis(redisUrl());
    onTestFinished(() => client.disconnect());
    const left = async (): Promise<string[]> => client.keys(`${namespace}:{hot}:*`);
    await until('nothing to be left', async () => (await left()).length === 0);
  });

  it('is refused what the store cannot do, with the stores that can; and what is no key', async () => {
    const store = redlockStore({ connections: [redisUrl()] });
    const [service] = await servers(1, { store });
    for (const asked of [service!.stateOf('job1'), service!.forceRelease('job1')]) {
      await expect(asked).rejects.toBeInstanceOf(LockConfigurationError);
      await expect(asked).rejects.toThrow(
        /the store "redlock" cannot do that \(its trait "\w+" is "none"\); allowed: another store, such as memoryStore, redisStore/,
      );
    }
    for (const key of ['', undefined, ['a', 'b']]) {
      await expect(service!.stateOf(key as never)).rejects.toBeInstanceOf(LockKeyError);
      await expect(service!.forceRelease(key as never)).rejects.toBeInstanceOf(LockKeyError);
    }
    const [own] = await servers(1, { store: storeWith({}) });
    await expect(own!.stateOf('job1')).rejects.toThrow(/has no stateOf\(\)/);
  });

  it('is told that the store is away', async () => {
    const store = redisStore({ connection: 'redis://127.0.0.1:1', commandTimeout: '200ms' });
    const [service] = await servers(1, { store, connectOnBoot: false });
    for (const asked of [service!.stateOf('job1'), service!.forceRelease('job1')])
      await expect(asked).rejects.toBeInstanceOf(LockStoreUnavailableError);
  });
});
