import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import { freshKey } from '../contract/lock-store.contract.js';
import { type WorkerPool, type WorkerProcess, eventOf } from '../support/processes.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { until } from '../support/until.js';
import {
  type Look,
  type WorkerOptions,
  acquire,
  bootLockWorkers,
  release,
} from './locking-workers.js';

const NAMESPACE = 'processes';
/** Waiters that are killed, one after the other. */
const ROUNDS = 3;
const keyspace = new RedisKeyspace('', NAMESPACE);

describe.skipIf(!inject('canStartRedis')).each(['push', 'poll'] as const)(
  "processes that lock, woken by '%s'",
  (wake) => {
    let redis: OwnRedis;
    let client: Redis;
    let options: WorkerOptions;
    let staff: WorkerPool;
    /** Processes that will not come back. */
    let victims: WorkerPool;
    let used = 0;

    beforeAll(async () => {
      redis = await startRedis();
      client = new Redis(redis.url);
      options = { store: { connection: redis.url, wake, safetyLook: 400 }, namespace: NAMESPACE };
      [staff, victims] = await Promise.all([
        bootLockWorkers(2, options),
        bootLockWorkers(2 + ROUNDS, options),
      ]);
    });
    afterAll(async () => {
      await Promise.all([staff?.kill(), victims?.kill()]);
      client?.disconnect();
      await redis?.stop();
    });

    const victim = (): WorkerProcess => victims.worker(used++);

    /** Has seen the key busy: it is in the server's queue, or, polling, has asked at least once. */
    async function waits(worker: WorkerProcess, key: LockKey, place: number): Promise<void> {
      await eventOf(worker, (it) => it.name === 'attempted' && keyOf(it.detail) === key);
      if (wake === 'poll') return;
      const { waiting } = keyspace.of(key);
      await until(`${place} waiting`, async () => (await client.zcard(waiting)) === place);
    }

    it('take over from a killed holder when its lease is over, at most 1 s later', async () => {
      const [holder, next] = [victim(), staff.worker(0)];
      const key = freshKey();
      await acquire(holder, key, { leaseTime: '600ms' });
      // Control: as long as the holder lives it is renewed, and nobody takes over.
      await expect(acquire(next, key, { waitTime: '900ms' })).rejects.toMatchObject({
        code: 'LOCK_WAIT_TIMEOUT',
      });
      const entering = acquire(next, key);
      await waits(next, key, 1);
      const leftMs = await client.pttl(keyspace.of(key).lock);
      const killedAt = monotonicMs();
      await holder.kill();
      const { at } = await entering;
      expect(at - killedAt).toBeLessThan(600 + 1_000);
      expect(at - killedAt, 'not before the lease was over').toBeGreaterThan(leftMs - 50);
      await release(next, key);
    });

    it('are not delayed by a killed waiter that was first in the queue', async () => {
      const [holder, next] = [staff.worker(0), staff.worker(1)];
      for (let round = 0; round < ROUNDS; round += 1) {
        const first = victim();
        const key = freshKey();
        await acquire(holder, key);
        const never = acquire(first, key).catch(() => 'killed');
        await waits(first, key, 1);
        const entering = acquire(next, key);
        await waits(next, key, 2);
        await first.kill();
        expect(await never).toBe('killed');
        const released = await release(holder, key);
        expect(released.result).toBe('released');
        const { at } = await entering;
        expect(at - released.at, 'from the release to the next holder').toBeLessThan(
          wake === 'push' ? 250 : 600,
        );
        await release(next, key);
      }
    });

    it('enter when the lease of a frozen holder is over; it learns the loss at its first look', async () => {
      const [frozen, next] = [staff.worker(0), staff.worker(1)];
      const key = freshKey();
      const old = await acquire(frozen, key, { leaseTime: '500ms' });
      const entering = acquire(next, key);
      await waits(next, key, 1);
      const frozenAt = monotonicMs();
      frozen.freeze();
      const current = await entering;
      expect(current.at - frozenAt).toBeLessThan(500 + 1_000);
      expect(current.token).toBeGreaterThan(old.token);

      const firstLook = frozen.call<Look>('look', key);
      const released = release(frozen, key);
      frozen.thaw();
      expect(await firstLook).toMatchObject({
        isHeld: false,
        error: { code: 'LOCK_LOST' },
        lost: true,
      });
      expect((await released).result).toBe('not-held');
      const lost = await eventOf(frozen, (it) => it.name === 'lost-signal');
      expect(lost.detail).toEqual({ name: key, reason: 'expired' });

      await next.call('renew', key);
      expect(await next.call<Look>('look', key)).toMatchObject({ isHeld: true, lost: false });
      expect((await release(next, key)).result).toBe('released');
    });

    it('control: a holder that was frozen for less than its lease goes on', async () => {
      const [frozen, next] = [staff.worker(0), staff.worker(1)];
      const key = freshKey();
      await acquire(frozen, key, { leaseTime: '30s' });
      frozen.freeze();
      await expect(acquire(next, key, { waitTime: '500ms' })).rejects.toMatchObject({
        code: 'LOCK_WAIT_TIMEOUT',
      });
      frozen.thaw();
      expect(await frozen.call<Look>('look', key)).toMatchObject({ isHeld: true, lost: false });
      expect((await release(frozen, key)).result).toBe('released');
    });

    /** What a waiter that stands still costs: one safety look (10 % random on top), and one claim of 200 ms or the offer of a turn, which lasts no longer than a look. */
    const FROZEN_WAITER_MS = 400 * 1.1 + (wake === 'push' ? 400 : 200);

    it(`get past a frozen waiter within ${FROZEN_WAITER_MS} ms; thawed, it does not begin the turn that it was offered, and gets its own`, async () => {
      const [frozen, next, holder] = [staff.worker(0), staff.worker(1), victim()];
      const key = freshKey();
      await acquire(holder, key);
      const first = acquire(frozen, key, { waitTime: '30s' });
      await waits(frozen, key, 1);
      const entering = acquire(next, key, { waitTime: '30s' });
      await waits(next, key, 2);
      frozen.freeze();
      const released = await release(holder, key);
      const value = await client.get(keyspace.of(key).lock);
      const isOffered = /^r:.*:\d/.test(value ?? '');
      expect(isOffered, 'an offer waits in its inbox').toBe(wake === 'push');
      const { at } = await entering;
      expect(at - released.at).toBeLessThan(FROZEN_WAITER_MS + 300);
      frozen.thaw();
      // It runs again, and has read what came meanwhile.
      const other = freshKey();
      await acquire(frozen, other);
      await release(frozen, other);
      const { at: leftAt } = await release(next, key);
      expect((await first).at).toBeGreaterThan(leftAt);
      expect((await release(frozen, key)).result).toBe('released');
    });

    it('leave nothing behind, and no rejection unhandled', async () => {
      const events = [...staff.workers, ...victims.workers].flatMap((it) => it.events);
      expect(events.filter((it) => it.name === 'unhandledRejection')).toEqual([]);
      await until('the locks to be gone', async () => {
        const keys = await client.keys('*');
        return keys.every((key) => key.endsWith(':fence'));
      });
    });
  },
);

function keyOf(detail: unknown): unknown {
  return (detail as { key?: unknown } | undefined)?.key;
}

/** The clock of the workers. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
