import type { EntityManager } from 'typeorm';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  FencingTokenRegressionError,
  StaleFencingTokenError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { FenceDialect } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { fenceDialect } from '../../src/distributed-lock/transaction/typeorm/fence/fence-dialects.js';
import type { SpecHold } from '../transaction/spec-hold.js';
import { type Actor, canHave, FenceWorld, holdWith } from './fence-world.js';

const TRANSACTIONS = 300;
const WORKERS = 8;

/** A lock service that is broken on purpose: leases end at random while their holders work on, and nobody is told. */
class BrokenLock {
  #token = 0;
  #freeAt = 0;

  async acquire(): Promise<SpecHold> {
    while (performance.now() < this.#freeAt) await delay(Math.random() * 2);
    // Shorter than many transactions take.
    this.#freeAt = performance.now() + Math.random() * 6;
    this.#token += 1;
    return Object.assign(holdWith(this.#token), { isConfirmed: false });
  }
}

interface Tally {
  readonly lost: number;
  readonly inversions: number;
  readonly refused: number;
}

describe.each(['postgres', 'mariadb'] as const)('a lock that expires at random, on %s', (name) => {
  describe.skipIf(!canHave(name))('of a database that is there', () => {
    let world: FenceWorld;
    let actor: Actor;
    let journal: string;

    beforeAll(async () => {
      world = await FenceWorld.open(name);
      actor = await world.actor({}, { poolSize: WORKERS });
      journal = `journal_${world.account}`;
      const id = world.isPostgres ? 'bigserial' : 'bigint AUTO_INCREMENT';
      await world.query(`CREATE TABLE ${journal} (id ${id} PRIMARY KEY, token bigint NOT NULL)`);
    });
    afterAll(async () => {
      await world?.query(`DROP TABLE ${journal}`);
      await world?.close();
    });
    beforeEach(async () => {
      await world.reset();
      await world.query(`DELETE FROM ${journal}`);
    });

    /** Adds 1 by reading and writing, and notes its token: between the read and the write, others come in. */
    async function work(manager: EntityManager, hold: SpecHold): Promise<void> {
      const [token] = [...hold.fencingTokens.values()];
      const balance = await world.read(manager);
      await delay(Math.random() * 8);
      await world.write(manager, balance + 1);
      await manager.query(`INSERT INTO ${journal} (token) VALUES (${token})`);
    }

    async function stress(transact: (hold: SpecHold) => Promise<void>): Promise<Tally> {
      const lock = new BrokenLock();
      let left = TRANSACTIONS;
      let refused = 0;
      const worker = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          const hold = await lock.acquire();
          try {
            await transact(hold);
          } catch (error) {
            if (!isRefusal(error)) throw error;
            refused += 1;
          }
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, worker));
      const tokens = await world.query<{ token: string }>(
        `SELECT token FROM ${journal} ORDER BY id`,
      );
      const inversions = tokens.filter(
        ({ token }, index) => index > 0 && Number(token) < Number(tokens[index - 1]!.token),
      ).length;
      return { lost: 100 + tokens.length - (await world.balance()), inversions, refused };
    }

    /** What a caller may be told of a lock that was lost; nothing was written then. */
    function isRefusal(error: unknown): boolean {
      if (error instanceof FencingTokenRegressionError) return false;
      return (
        error instanceof StaleFencingTokenError ||
        (error as { code?: unknown }).code === 'SERIALIZATION_RETRIES_EXHAUSTED'
      );
    }

    it.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
      'loses no update and commits in the order of the tokens, at %s',
      async (isolation) => {
        const tally = await stress((hold) =>
          actor.transactions.run({ isolation, retry: { attempts: 20 } }, hold, (manager) =>
            work(manager, hold),
          ),
        );
        expect(tally).toMatchObject({ lost: 0, inversions: 0 });
        expect(tally.refused).toBeLessThan(TRANSACTIONS); // some came through
      },
    );

    it('control: without the fence, updates are lost and commits are out of order', async () => {
      const tally = await stress((hold) =>
        actor.transactions.run({ fenced: false, isolation: 'READ COMMITTED' }, hold, (manager) =>
          work(manager, hold),
        ),
      );
      expect(tally.lost).toBeGreaterThan(0);
      expect(tally.inversions).toBeGreaterThan(0);
    });

    it('mutant: with the fence as the last statement in place of the first, updates are lost', async () => {
      const { dialect, table } = dialectOf(world);
      const tally = await stress((hold) =>
        actor.transactions.run(
          { fenced: false, isolation: 'READ COMMITTED' },
          hold,
          async (manager) => {
            await work(manager, hold);
            const [token] = [...hold.fencingTokens.values()];
            const { stale } = await dialect.enter(
              (sql, values) => manager.query(sql, [...(values ?? [])]),
              {
                table,
                keys: [{ name: 'late', token: token! }],
                nonce: '00000000-0000-4000-8000-000000000000',
                budgetMs: 10_000,
              },
            );
            const [first] = stale;
            if (first) throw new StaleFencingTokenError(hold.key, token!, first.seenToken);
          },
        ),
      );
      expect(tally.lost).toBeGreaterThan(0);
    });
  });
});

function dialectOf(world: FenceWorld): { dialect: FenceDialect; table: string } {
  return { dialect: fenceDialect(world.isPostgres ? 'postgres' : 'mariadb'), table: world.fences };
}
