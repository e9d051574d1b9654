import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import { RedisKeyspace } from '../../src/distributed-lock/store/redis-client/redis.keys.js';
import { withScripts } from '../../src/distributed-lock/store/redis/redis.scripts.js';
import { freshKey } from '../contract/lock-store.contract.js';
import { overlaps } from '../support/history.js';
import type { WorkerPool, WorkerProcess } from '../support/processes.js';
import { type OwnRedis, startRedis } from '../support/redis.js';
import { until } from '../support/until.js';
import {
  type Held,
  type Look,
  type Released,
  acquire,
  bootLockWorkers,
  release,
} from './locking-workers.js';

const NAMESPACE = 'fair-line';
const keyspace = new RedisKeyspace('', NAMESPACE);
/** What a frozen caller at the head of the line costs those behind it. */
const CLAIM_MS = 200;
const FAIR = { fair: true, waitTime: '60s', leaseTime: '30s' } as const;

/** Who had the key, from when it knew that it had it until it began to release it. */
class Turns {
  readonly #sections: { worker: string; key: string; from: number; to: number; token: bigint }[] =
    [];

  constructor(private readonly key: LockKey) {}

  async release(worker: WorkerProcess, { at: from, token }: Held): Promise<Released> {
    const released = await release(worker, this.key);
    expect(released.result).toBe('released');
    this.#sections.push({ worker: worker.name, key: this.key, from, to: released.at, token });
    return released;
  }

  /** In the order in which they were released: nobody beside another, each with a greater token. */
  expectSound(...workers: readonly WorkerProcess[]): void {
    expect(this.#sections.map(({ worker }) => worker)).toEqual(workers.map(({ name }) => name));
    expect(overlaps(this.#sections)).toEqual([]);
    const tokens = this.#sections.map(({ token }) => token);
    expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => (a < b ? -1 : 1)));
  }
}

describe.skipIf(!inject('canStartRedis'))('a line over processes (fair), one Redis', () => {
  let redis: OwnRedis;
  let pool: WorkerPool;
  const clients: Redis[] = [];
  const client = () => clients[0]!;
  /** The longest of some hand-offs from process to process with nobody in between, in this very run. */
  let straightMs = 0;

  beforeAll(async () => {
    redis = await startRedis();
    clients.push(new Redis(redis.url));
    // No look of its own within the test: whoever gets on was told to.
    const store = { connection: redis.url, safetyLook: '50s' };
    pool = await bootLockWorkers(6, { store, namespace: NAMESPACE });
    for (let round = 0; round < 8; round += 1) straightMs = Math.max(straightMs, await handOff());
  });
  afterEach(() => pool.worker(3).thaw()); // also of a test that failed
  afterAll(async () => {
    await pool?.kill();
    for (const it of clients) it.disconnect();
    await redis?.stop();
  });

  const places = (key: LockKey) => client().zrange(keyspace.of(key).waiting, 0, -1);

  /** Asks, and has a place in the line of its own when this resolves. */
  async function queue(worker: WorkerProcess, key: LockKey, options: object = FAIR) {
    const before = (await places(key)).length;
    const entering = acquire(worker, key, options);
    entering.catch(() => undefined); // of one that is killed
    await until('its place', async () => (await places(key)).length === before + 1);
    const place = (await places(key)).at(-1)!;
    return { entering, place };
  }

  async function handOff(): Promise<number> {
    const [holder, next] = [pool.worker(0), pool.worker(1)];
    const key = freshKey('straight');
    await acquire(holder, key, FAIR);
    const { entering } = await queue(next, key);
    const { at: releasedAt } = await release(holder, key);
    const { at } = await entering;
    await release(next, key);
    return at - releasedAt;
  }

  /** What the others may need besides a claim. */
  const withinMs = () => 5 * straightMs + 50;

  /** The server has noticed the end of the process whose place it is. */
  async function untilUnheard(place: string): Promise<void> {
    const process = place.split(':')[1]!;
    await until('it to be unheard', async () => {
      const [, listeners] = await client().pubsub('NUMSUB', keyspace.inbox + process);
      return listeners === 0;
    });
  }

  it('a head that was killed is passed over at once', async () => {
    const [holder, next, dead] = [pool.worker(0), pool.worker(1), pool.worker(4)];
    const key = freshKey('killed');
    const turns = new Turns(key);
    const held = await acquire(holder, key, FAIR);
    const { place } = await queue(dead, key);
    const { entering } = await queue(next, key);
    await dead.kill();
    await untilUnheard(place);
    expect((await places(key))[0], 'control: it still has the first place').toBe(place);
    const { at: releasedAt } = await turns.release(holder, held);
    const entered = await entering;
    expect(entered.at - releasedAt).toBeLessThan(withinMs());
    await turns.release(next, entered);
    turns.expectSound(holder, next);
  });

  it('a head that is frozen, and a dead one behind it, cost one claim; thawed, it is served before those who came later', async () => {
    const [holder, next, late, frozen] = [0, 1, 2, 3].map((n) => pool.worker(n)) as [
      WorkerProcess,
      WorkerProcess,
      WorkerProcess,
      WorkerProcess,
    ];
    const dead = pool.worker(5);
    const key = freshKey('frozen');
    const turns = new Turns(key);
    const held = await acquire(holder, key, FAIR);
    const first = await queue(frozen, key);
    const { place } = await queue(dead, key);
    const { entering } = await queue(next, key);
    frozen.freeze();
    await dead.kill();
    await untilUnheard(place);
    const { at: releasedAt } = await turns.release(holder, held);
    const entered = await entering;
    expect(entered.at - releasedAt, 'control: it was called').toBeGreaterThan(CLAIM_MS - 1);
    expect(entered.at - releasedAt).toBeLessThan(CLAIM_MS + withinMs());

    const last = await queue(late, key);
    frozen.thaw();
    await until('it to take its place', async () => (await places(key)).length === 2);
    expect(await places(key)).toEqual([first.place, last.place]);
    await turns.release(next, entered);
    await turns.release(frozen, await first.entering);
    await turns.release(late, await last.entering);
    turns.expectSound(holder, next, frozen, late);
  });

  it('a head that is frozen for longer than it wants to wait is told the truth when it thaws, and keeps nobody out', async () => {
    const [holder, next, frozen] = [pool.worker(0), pool.worker(1), pool.worker(3)];
    const key = freshKey('too-late');
    const turns = new Turns(key);
    const held = await acquire(holder, key, FAIR);
    const first = await queue(frozen, key, { ...FAIR, waitTime: '1s' });
    frozen.freeze();
    const frozenAt = performance.now();
    const { entering } = await queue(next, key);
    await turns.release(holder, held);
    const entered = await entering;
    await until('its time to be over', () => performance.now() > frozenAt + 1_000);
    frozen.thaw();
    await expect(first.entering).rejects.toMatchObject({ code: 'LOCK_WAIT_TIMEOUT' });
    expect(await next.call<Look>('look', key)).toMatchObject({ isHeld: true, lost: false });
    await next.call('renew', key);
    await turns.release(next, entered);
    turns.expectSound(holder, next);
    await until('nothing to be left', async () => {
      const { lock, waiting } = keyspace.of(key);
      return (await client().exists(lock, waiting)) === 0;
    });
  });

  it('control: with a claim that does not end soon, a frozen head keeps the next one out', async () => {
    const [next, frozen] = [pool.worker(1), pool.worker(3)];
    const key = freshKey('long-claim');
    const scripts = withScripts(client().duplicate());
    clients.push(scripts);
    const { lock, waiting } = keyspace.of(key);
    const place = ['x', '', 'control.line:1'];
    const calling = [keyspace.inbox, key, '1', 60_000];
    await scripts.lineEnter(lock, waiting, ...place, 30_000, '0', '0', '0', ...calling);
    const first = await queue(frozen, key);
    frozen.freeze();
    const waitTime = `${Math.ceil(2 * (CLAIM_MS + withinMs()))}ms`;
    const { entering } = await queue(next, key, { ...FAIR, waitTime });
    expect(await scripts.lineLeave(lock, waiting, ...place, ...calling)).toBe(1);
    await expect(entering).rejects.toMatchObject({ code: 'LOCK_WAIT_TIMEOUT' });
    frozen.thaw();
    await first.entering;
    expect((await release(frozen, key)).result).toBe('released');
  });
});
