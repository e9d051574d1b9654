import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockClosedError } from 'nestjs-distributed-lock';
import { freshKey } from '../contract/lock-store.contract.js';
import { BrokenRedis } from '../fault/broken-redis.js';
import { failureOf, gate, type Managed } from '../lock/managed.js';

describe.skipIf(!inject('canStartRedis')).each(['push', 'poll'] as const)(
  "closing with holders and waiters on Redis, woken by '%s'",
  (wake) => {
    let redis: BrokenRedis;
    let other: Managed;

    beforeAll(async () => {
      redis = await BrokenRedis.start({ wake });
      other = await redis.direct();
    });
    afterAll(() => redis?.stop());

    it('turns waiters away, lets holders finish, and leaves no lock behind', async () => {
      const closing = await redis.direct();
      const [finishing, stuck, foreign] = [
        freshKey('done'),
        freshKey('stuck'),
        freshKey('foreign'),
      ];
      const done = gate();
      const finishes = closing.locked(finishing, () => done.opened);
      const hold = await closing.enter(stuck);
      const alone = (await closing.enter(freshKey('alone'))).key;
      const held = await other.enter(foreign);
      const waiters = [stuck, foreign].map((key) =>
        failureOf(closing.enter(key, { waitTimeMs: 60_000 })),
      );
      await redis.untilWaiting(foreign, wake);
      const next = other.enter(stuck, { waitTimeMs: 10_000 });

      const startedAt = performance.now();
      const closed = closing.manager.close(200);
      for (const failure of waiters) expect(await failure).toBeInstanceOf(LockClosedError);
      expect(hold.isHeld(), 'within the grace time').toBe(true);
      done.open();
      await finishes;
      await closed;
      expect(performance.now() - startedAt).toBeLessThan(200 + 300);

      expect(hold.lost.reason).toMatchObject({ code: 'LOCK_LOST', reason: 'closed' });
      expect(closing.types.toSorted()).toEqual(
        [
          'acquired',
          'acquired',
          'failed',
          'failed',
          'acquired',
          'lost',
          'lost',
          'released',
        ].toSorted(),
      );
      const unwanted = await other.enter(alone, { waitTimeMs: 1_000 }); // a third of its lease
      expect(await unwanted.release(), 'freed, though nobody waited').toBe('released');
      expect(await (await next).release(), 'freed at once, not by its lease').toBe('released');
      expect(await held.release()).toBe('released');
      await redis.untilNothingIsLeft();
    });

    it('is done when the last holder has been released, not before the server knows', async () => {
      const closing = await redis.direct();
      const key = freshKey();
      const done = gate();
      const finishes = closing.locked(key, () => done.opened);
      await redis.direct(); // the lock above is on its way; these commands are behind it
      const closed = closing.manager.close(60_000);
      done.open();
      await finishes;
      await closed;
      expect(closing.happened.at(-1)).toMatchObject({ type: 'released', result: 'released' });
      expect(await redis.leftovers(key)).toEqual([]);
    });
  },
);
