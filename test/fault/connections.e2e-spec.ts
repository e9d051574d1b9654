import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { freshKey } from '../contract/lock-store.contract.js';
import { failureOf, type Managed } from '../lock/managed.js';
import type { TcpProxy } from '../support/tcp-proxy.js';
import { settlesWithin, until } from '../support/until.js';
import { BrokenRedis, contend } from './broken-redis.js';

const COMMAND_TIMEOUT_MS = 300;

/** What happens to the next command that names the key: it is executed, and its answer… */
const FAULTS: readonly [string, (proxy: TcpProxy, key: string) => Promise<void>][] = [
  [
    'is lost with the connection',
    async (proxy, key) => {
      await proxy.cutBeforeReplyTo(key);
    },
  ],
  [
    'comes after the time-out',
    async (proxy) => {
      proxy.blackhole('to-client');
    },
  ],
  [
    'never comes: the connection hangs and is then reset',
    async (proxy) => {
      proxy.blackhole('to-client');
    },
  ],
];

describe.skipIf(!inject('canStartRedis'))('a connection that breaks', () => {
  let broken: BrokenRedis;
  let other: Managed;

  beforeAll(async () => {
    broken = await BrokenRedis.start({ commandTimeout: COMMAND_TIMEOUT_MS });
    other = await broken.direct();
  });
  afterAll(() => broken?.stop());

  describe.each(FAULTS)('when a command is executed and its answer %s', (name, arm) => {
    let locks: Managed;
    let proxy: TcpProxy;
    const reset = name.startsWith('never');

    /** Runs `operation` under the fault, which ends once `until` it has had its effect. */
    async function broke<T>(key: string, operation: () => Promise<T>): Promise<T | Error> {
      const armed = arm(proxy, key);
      const settled = operation().catch((error: Error) => error);
      if (name.startsWith('is lost')) await armed;
      else await Promise.race([settled, executed()]);
      if (reset) proxy.cut();
      await proxy.pass();
      return settled;
    }

    /** The command was given up; what came back meanwhile is still under way. */
    async function executed(): Promise<void> {
      const end = performance.now() + COMMAND_TIMEOUT_MS + 50;
      await until('the command to time out', () => performance.now() > end);
    }

    beforeAll(async () => {
      ({ locks, proxy } = await broken.proxied({ turnGrants: 1 }));
    });

    /** Nobody is kept out, nobody is let in twice, nothing is left. */
    async function isSound(key: string, token: bigint | null): Promise<void> {
      await contend([locks, other], key, 5, token);
      await broken.untilNothingIsLeft(key);
    }

    it('an acquire is granted once', async () => {
      const key = freshKey('acquire');
      const hold = await broke(key, () => locks.enter(key, { waitTimeMs: 5_000 }));
      if (hold instanceof Error) throw hold;
      expect(hold.isHeld()).toBe(true);
      await expect(other.enter(key, { waitTimeMs: 0 })).rejects.toMatchObject({
        code: 'LOCK_WAIT_TIMEOUT',
      });
      const lastTurn = await broken.world.client.get(`${broken.world.namespace}:fence`);
      expect(lastTurn, 'no turn after that one').toBe(String(hold.fencingToken! / 1_000n));
      expect(await hold.release()).toBe('released');
      await isSound(key, hold.fencingToken);
    });

    it('a try leaves no orphan', async () => {
      const key = freshKey('try');
      const executions = await broken.calls('set');
      const error = await broke(key, () => locks.enter(key, { waitTimeMs: 0 }));
      expect(error).toBeInstanceOf(LockStoreUnavailableError);
      expect(await broken.calls('set'), 'control: it was executed').toBeGreaterThan(executions);
      const hold = await other.enter(key, { waitTimeMs: 2_000 });
      await hold.release();
      await isSound(key, hold.fencingToken);
    });

    it('a release is told again, and the next holder enters', async () => {
      const key = freshKey('release');
      const hold = await locks.enter(key);
      const entering = other.enter(key, { waitTimeMs: 5_000 });
      const outcome = await broke(key, () => hold.release());
      expect(outcome === 'released' || outcome instanceof LockStoreUnavailableError).toBe(true);
      expect(hold.isHeld()).toBe(false);
      const next = await entering;
      expect(next.fencingToken! > hold.fencingToken!).toBe(true);
      expect(await next.release()).toBe('released');
      await isSound(key, next.fencingToken);
    });

    it('a renewal does not lose the lock', async () => {
      const key = freshKey('renew');
      const hold = await locks.enter(key, { leaseTimeMs: 10_000 });
      const outcome = await broke(key, () => hold.renew());
      expect(outcome === undefined || outcome instanceof LockStoreUnavailableError).toBe(true);
      expect(hold.isHeld()).toBe(true);
      await until('a renewal', () =>
        hold.renew().then(
          () => true,
          () => false,
        ),
      );
      await expect(other.enter(key, { waitTimeMs: 0 })).rejects.toMatchObject({
        code: 'LOCK_WAIT_TIMEOUT',
      });
      expect(await hold.release()).toBe('released');
      await isSound(key, hold.fencingToken);
    });

    it.each(['nobody else', 'another process'])(
      'a turn that is passed on while %s waits is not held twice',
      async (who) => {
        const key = freshKey('pass');
        const hold = await locks.enter(key);
        const second = locks.enter(key, { waitTimeMs: 10_000 });
        const foreign = who === 'another process' ? other.enter(key, { waitTimeMs: 10_000 }) : null;
        const order: string[] = [];
        const asked = await broken.calls('zpopmin');
        const use = async (entering: ReturnType<Managed['enter']>, by: string) => {
          const entered = await entering;
          order.push(`>${by}`);
          await new Promise(setImmediate);
          order.push(`<${by}`);
          expect(await entered.release()).toBe('released');
          return entered.fencingToken!;
        };
        const uses = [use(second, 'second'), ...(foreign ? [use(foreign, 'foreign')] : [])];
        await broke(key, () => hold.release());
        const tokens = await Promise.all(uses);
        expect(await broken.calls('zpopmin'), 'control: it was executed').toBeGreaterThan(asked);
        for (const token of tokens) expect(token > hold.fencingToken!).toBe(true);
        const inside = order.map((it) => it[0]).join('');
        expect(inside).toBe('><'.repeat(uses.length));
        await isSound(
          key,
          tokens.reduce((a, b) => (a > b ? a : b)),
        );
      },
    );
  });

  describe.each(['push', 'poll'] as const)("while a call waits, woken by '%s'", (wake) => {
    it.each([
      ['the pubsub connections', ['TYPE', 'pubsub']],
      ['the command connections', ['TYPE', 'normal']],
    ])('%s are killed: it is served once, soon after the release', async (_what, target) => {
      const [holder, waiter] = [await broken.direct({ wake }), await broken.direct({ wake })];
      const key = freshKey('cut');
      const hold = await holder.enter(key, { leaseTimeMs: 30_000 });
      const entering = waiter.enter(key, { waitTimeMs: 20_000 });
      await broken.untilWaiting(key, wake);
      await broken.world.client.call('CLIENT', 'KILL', ...target);
      const releasedAt = performance.now();
      await until('the release', () =>
        hold.release().then(
          (it) => it === 'released' || it === 'not-held',
          () => false,
        ),
      );
      const next = await entering;
      expect(performance.now() - releasedAt).toBeLessThan(2_000);
      expect(waiter.types).toEqual(['acquired']);
      expect(await next.release()).toBe('released');
      await contend([holder, waiter], key, 5, next.fencingToken);
      await broken.untilNothingIsLeft(key);
    });

    it('the network is cut and comes back: it is served', async () => {
      const { locks: waiter, proxy } = await broken.proxied({ wake });
      const key = freshKey('network');
      const hold = await other.enter(key);
      const entering = waiter.enter(key, { waitTimeMs: 20_000 });
      await broken.untilWaiting(key, wake);
      await proxy.refuse();
      expect(await hold.release()).toBe('released');
      expect(waiter.types).toEqual([]);
      await proxy.pass();
      const next = await entering;
      expect(await next.release()).toBe('released');
      expect(waiter.types).toEqual(['acquired', 'released']);
      await broken.untilNothingIsLeft(key);
    });
  });

  describe.each([
    ['both ways', []],
    ['towards the server', ['to-server']],
    ['towards the holder', ['to-client']],
  ] as const)('a partition %s', (_name, directions) => {
    it('is noticed by the holder no later than its successor enters', async () => {
      const { locks: holder, proxy } = await broken.proxied();
      const key = freshKey('partition');
      const order: string[] = [];
      const hold = await holder.enter(key, { leaseTimeMs: 600 });
      hold.lost.addEventListener('abort', () => order.push('lost'));
      // Control: without the partition, the holder is renewed and nobody enters.
      const busy = await failureOf(other.enter(key, { waitTimeMs: 900 }));
      expect(busy).toMatchObject({ code: 'LOCK_WAIT_TIMEOUT' });
      const entering = other
        .enter(key, { waitTimeMs: 10_000 })
        .then((next) => (order.push('successor'), next));
      proxy.blackhole(...directions);
      const next = await entering;
      expect(order).toEqual(['lost', 'successor']);
      expect(hold.lost.reason).toMatchObject({ code: 'LOCK_LOST', reason: 'expired' });
      await proxy.pass();
      expect(await hold.release()).toBe('not-held');
      await next.renew();
      expect(next.isHeld(), 'what arrives late does not touch the successor').toBe(true);
      await until('the late commands to have been answered', () =>
        holder.enter(freshKey(), { waitTimeMs: 500 }).then(
          (again) => again.release().then(() => true),
          () => false,
        ),
      );
      await next.renew();
      expect(await next.release()).toBe('released');
      await broken.untilNothingIsLeft(key);
    });
  });

  it.each(['push', 'poll'] as const)(
    "a release that never arrived is told again, long before the lease is over; woken by '%s'",
    async (wake) => {
      const { locks, proxy } = await broken.proxied({ wake });
      const next = await broken.direct({ wake });
      const key = freshKey('untold');
      const hold = await locks.enter(key, { leaseTimeMs: 60_000 });
      const entering = next.enter(key, { waitTimeMs: 20_000 });
      await broken.untilWaiting(key, wake);
      await proxy.refuse();
      await expect(hold.release()).rejects.toBeInstanceOf(LockStoreUnavailableError);
      expect(locks.types).toEqual(['acquired', 'release-failed']);
      expect(next.types, 'control: the server does not know yet').toEqual([]);
      await proxy.pass();
      const healedAt = performance.now();
      expect(await (await entering).release()).toBe('released');
      expect(performance.now() - healedAt).toBeLessThan(3_000);
      await broken.untilNothingIsLeft(key);
    },
  );

  it('that is lost with a command under way is replaced once, and the new one is left alone', async () => {
    const { locks, proxy } = await broken.proxied();
    const key = freshKey('replaced');
    await (await locks.enter(key)).release();
    const connections = await broken.connections();
    const lost = proxy.cutBeforeReplyTo(key);
    const hold = await locks.enter(key, { waitTimeMs: 5_000 });
    await lost;
    await hold.release();
    const end = performance.now() + 3 * COMMAND_TIMEOUT_MS;
    while (performance.now() < end) await (await locks.enter(key)).release();
    expect(locks.types).not.toContain('release-failed');
    expect(await broken.connections()).toBe(connections + 1);
  });

  it('that falls silent is left for a new one, that of the commands and that of the inbox', async () => {
    const { locks, proxy } = await broken.proxied({ safetyLook: 100 });
    const key = freshKey('silent');
    const hold = await other.enter(key);
    const entering = locks.enter(key, { waitTimeMs: 20_000 });
    await broken.untilWaiting(key);
    const connections = await broken.connections();
    proxy.blackhole();
    await until('two new connections', async () => (await broken.connections()) >= connections + 2);
    await proxy.pass();
    expect(await hold.release()).toBe('released');
    expect(await (await entering).release()).toBe('released');
    await broken.untilNothingIsLeft(key);
  });

  it('an acquire that is given up and executed later is taken back', async () => {
    const locks = await broken.direct();
    const key = freshKey('late');
    for (const waitTimeMs of [0, 100]) {
      await (await locks.enter(freshKey())).release(); // it is connected
      const executions = await broken.calls('set');
      broken.redis.freeze();
      const givenUp = failureOf(locks.enter(key, { waitTimeMs }));
      const inTime = await settlesWithin(COMMAND_TIMEOUT_MS + 200, givenUp);
      broken.redis.thaw();
      expect(inTime, 'a frozen server costs no more than the command is waited for').toBe(true);
      expect(await givenUp).toBeInstanceOf(LockStoreUnavailableError);
      // Control: it is executed, after it was given up.
      await until('it to be executed', async () => (await broken.calls('set')) > executions);
      await broken.untilNothingIsLeft(key);
    }
    await (await other.enter(key, { waitTimeMs: 0 })).release();
  });
});
