import {
  currentHold,
  DistributedLockModule,
  DistributedLockService,
  type LockEvent,
  LockConfigurationError,
  LockInsideTransactionError,
  LockKeyError,
  LockStoreUnavailableError,
  memoryStore,
} from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { chai, describe, expect, it } from 'vitest';
import { NotedTransactions, Occupancy, startApp, storeWith } from './support.js';

const start = async (
  options: Partial<Parameters<typeof DistributedLockModule.forRoot>[0]> = {},
) => {
  const app = await startApp({
    imports: [DistributedLockModule.forRoot({ store: memoryStore(), ...options })],
  });
  return app.get(DistributedLockService);
};

describe('withLock', () => {
  it('runs one callback at a time, gives it the hold, and releases on every path', async () => {
    const locks = await start();
    const occupancy = new Occupancy();
    const { values } = await raceTogether(6, (index) =>
      locks.withLock('application:42', async (hold) => {
        await occupancy.visit();
        expect(currentHold()).toBe(hold);
        return `${hold.key} ${index}`;
      }),
    );
    expect(values).toEqual([0, 1, 2, 3, 4, 5].map((index) => `application:42 ${index}`));
    expect(occupancy.highest).toBe(1);

    const error = new Error('business');
    await expect(locks.withLock('x', () => Promise.reject(error))).rejects.toBe(error);
    const sync = (): Promise<never> => {
      throw error;
    };
    await expect(locks.withLock('x', { waitTime: 0 }, sync)).rejects.toBe(error);
    await using hold = await locks.tryAcquire('x');
    expect(hold).not.toBeNull();
  });

  it('several keys are held together, in one order: opposite orders do not deadlock', async () => {
    const locks = await start();
    const { errors } = await raceTogether(20, (index) =>
      locks.withLock(index % 2 ? ['a', 'b'] : ['b', 'a'], { waitTime: '5s' }, async (hold) => {
        expect(hold.keys).toEqual(['a', 'b']);
        await new Promise((resolve) => setImmediate(resolve));
      }),
    );
    expect(errors).toEqual([]);
  });

  it('ends the wait by a signal', async () => {
    const locks = await start();
    await using _hold = await locks.acquire('x');
    const abort = new AbortController();
    const waiting = locks.withLock('x', { signal: abort.signal }, async () => 'ran');
    const reason = new Error('the client has gone');
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });
});

describe('acquire and tryAcquire', () => {
  it('acquire rejects when busy, tryAcquire gives null, and a store that cannot answer is neither', async () => {
    const locks = await start();
    const hold = await locks.acquire('job1');
    await expect(locks.acquire('job1', { waitTime: 0 })).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
    });
    expect(await locks.tryAcquire('job1')).toBeNull();
    expect(await hold.release()).toBe('released');
    expect(await hold.release()).toBe('not-held');
    await using again = await locks.tryAcquire('job1');
    expect(again?.fencingToken).toBeGreaterThan(hold.fencingToken!);

    const broken = await start({
      store: storeWith({
        acquire: ({ key }) =>
          Promise.reject(new LockStoreUnavailableError('memory', key, 'connection refused')),
      }),
    });
    await expect(broken.tryAcquire('job1')).rejects.toThrow(LockStoreUnavailableError);
  });

  it('are refused inside an open transaction, except outside of it on purpose', async () => {
    const transactions = new NotedTransactions();
    const locks = await start({ transactions });
    transactions.open = { dataSource: 'default', openedAt: null };
    await expect(locks.acquire('x')).rejects.toThrow(LockInsideTransactionError);
    await expect(locks.tryAcquire('x')).rejects.toThrow(LockInsideTransactionError);
    await expect(locks.withLock('x', async () => 1)).rejects.toThrow(LockInsideTransactionError);
    await expect(locks.withTransaction('x', async () => 1)).rejects.toThrow(
      LockInsideTransactionError,
    );
    expect(await locks.outsideTransaction(() => locks.withLock('x', async () => 1))).toBe(1);
  });

  it('outsideTransaction without transactions just runs', async () => {
    const locks = await start();
    expect(locks.outsideTransaction(() => 7)).toBe(7);
  });
});

describe('withTransaction', () => {
  it('commits before it releases', async () => {
    const transactions = new NotedTransactions();
    const locks = await start({ transactions });
    locks.events.on((event) => transactions.notes.push(event.type));
    const result = await locks.withTransaction(
      'application:42',
      { waitTime: '3s', transaction: { isolation: 'SERIALIZABLE' } },
      async ({ manager, hold }) => `${String(manager)} ${hold.isHeld()}`,
    );
    expect(result).toBe('manager true');
    expect(transactions.notes).toEqual([
      'attempted',
      'acquired',
      'START SERIALIZABLE',
      'COMMIT',
      'released',
    ]);
  });

  it('is refused where the module has no transactions', async () => {
    const locks = await start();
    await expect(locks.withTransaction('x', async () => 1)).rejects.toThrow(
      /DistributedLockService\.withTransaction: option "transaction" asks for a transaction, but the module "default"/,
    );
  });
});

describe('what it is given', () => {
  it.each<[string, (locks: DistributedLockService) => Promise<unknown>, RegExp]>([
    [
      'an unknown option',
      (l) => l.withLock('x', { ttl: 1 } as never, async () => 1),
      /"DistributedLockService\.withLock: ttl" is not known .*allowed: waitTime/,
    ],
    [
      'a wrong duration',
      (l) => l.acquire('x', { waitTime: 'soon' }),
      /acquire: waitTime" is "soon"; allowed/,
    ],
    [
      'a short lease',
      (l) => l.tryAcquire('x', { leaseTime: 1 }),
      /tryAcquire: leaseTime" is 1; allowed: 100 ms/,
    ],
    [
      'a wait time where nothing waits',
      (l) => l.tryAcquire('x', { waitTime: 5 } as never),
      /tryAcquire: waitTime" is 5; allowed: none/,
    ],
    [
      'no signal',
      (l) => l.acquire('x', { signal: {} as never }),
      /acquire: signal" is \{\}; allowed: an AbortSignal/,
    ],
    [
      'no options',
      (l) => l.acquire('x', null as never),
      /acquire: the options are null; allowed: an object/,
    ],
    [
      'no work',
      (l) => l.withLock('x', {} as never),
      /withLock: the work is \{\}; allowed: an async function/,
    ],
    [
      'no transaction',
      (l) => l.withTransaction('x', { transaction: false as never }, async () => 1),
      /transaction" is false; allowed/,
    ],
  ])('%s rejects with LockConfigurationError', async (_what, call, message) => {
    const locks = await start({ transactions: new NotedTransactions() });
    await expect(call(locks)).rejects.toThrow(LockConfigurationError);
    await expect(call(locks)).rejects.toThrow(message);
  });

  it.each([[''], [[]], [undefined], [['a', '']], ['application:undefined']])(
    'key %j rejects with LockKeyError',
    async (key) => {
      const locks = await start();
      await expect(locks.acquire(key as never)).rejects.toThrow(LockKeyError);
      await expect(locks.withLock(key as never, async () => 1)).rejects.toThrow(LockKeyError);
    },
  );
});

describe('events', () => {
  it('tell what happens, in order, until the listener is removed', async () => {
    const locks = await start();
    const seen: LockEvent[] = [];
    const off = locks.events.on((event) => seen.push(event));
    await using _hold = await locks.acquire('x');
    await locks.tryAcquire('x');
    off();
    await locks.tryAcquire('x');
    expect(seen.map(({ type, key }) => `${type} ${key}`)).toEqual([
      'attempted x',
      'acquired x',
      'attempted x',
      'timed-out x',
    ]);
  });
});

describe('the service and a store, printed by a test library', () => {
  it('ask nothing: such libraries call a method of the name "inspect" on any object', async () => {
    const store = memoryStore();
    const locks = await start({ store });
    expect([locks, store].filter((it) => 'inspect' in it)).toEqual([]);
    expect(chai.util.inspect(locks)).toContain('DistributedLockService');
  });
});
