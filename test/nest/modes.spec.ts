import { Injectable } from '@nestjs/common';
import {
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
  LockConfigurationError,
  LockUpgradeError,
  type LockStore,
  memoryStore,
  type TransactionOptions,
} from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { describe, expect, it } from 'vitest';
import { NotedTransactions, Occupancy, startApp, storeWith } from './support.js';

/** What a test leaves held need not be waited for. */
const withStore = (store: LockStore = memoryStore()) =>
  DistributedLockModule.forRoot({ store, shutdownGrace: 0 });

/** A store that can only exclude. */
const plainStore = (fair: 'process' | 'fifo' = 'process'): LockStore =>
  storeWith({ traits: { ...memoryStore().traits, name: 'plain', fair, offers: [] } });

const service = async (store?: LockStore): Promise<DistributedLockService> =>
  (await startApp({ imports: [withStore(store)] })).get(DistributedLockService);

describe('a decorated method', () => {
  @Injectable()
  class Report {
    readonly readers = new Occupancy();
    readonly writers = new Occupancy();
    readonly mails = new Occupancy();
    seen = 0;

    @DistributedLock({ key: 'report', mode: 'shared' })
    async read(): Promise<number> {
      await this.readers.visit();
      return this.seen;
    }

    @DistributedLock({ key: 'report' })
    async write(): Promise<void> {
      const before = this.seen;
      await this.writers.visit();
      this.seen = before + 1;
    }

    @DistributedLock({ key: 'mail', permits: 3 })
    async mail(): Promise<void> {
      await this.mails.visit();
    }

    @DistributedLock({ key: 'mail', permits: 100 })
    async mailUnlimited(): Promise<void> {
      await this.mails.visit();
    }
  }

  const report = async (): Promise<Report> =>
    (await startApp({ imports: [withStore()], providers: [Report] })).get(Report);

  it('with mode "shared" runs beside its like, and never beside an exclusive one', async () => {
    const target = await report();
    const { errors } = await raceTogether(
      60,
      (n) => (n % 3 ? target.read() : target.write()) as Promise<unknown>,
    );
    expect(errors).toEqual([]);
    expect(target.seen, 'no update is lost').toBe(20);
    expect(target.writers.highest).toBe(1);
    expect(target.readers.highest).toBeGreaterThan(1);
  });

  it('with permits runs at most so often at a time', async () => {
    const target = await report();
    const { errors } = await raceTogether(30, () => target.mail());
    expect(errors).toEqual([]);
    expect([target.mails.total, target.mails.highest]).toEqual([30, 3]);
  });

  it('control: without that limit more of them run at a time', async () => {
    const target = await report();
    await raceTogether(30, () => target.mailUnlimited());
    expect(target.mails.highest).toBeGreaterThan(3);
  });
});

describe('inside a hold of the same key', () => {
  const shared = { mode: 'shared' } as const;

  it('a shared call joins an exclusive hold, and a shared one', async () => {
    const locks = await service();
    for (const outer of [{}, shared]) {
      const owners = await locks.withLock('k', outer, (hold) =>
        locks.withLock('k', shared, async (inner) => [hold.owner, inner.owner]),
      );
      expect(owners[1]).toBe(owners[0]);
    }
    expect(await locks.tryAcquire('k'), 'all of it is released').not.toBeNull();
  });

  it('shared calls run together, an exclusive one alone', async () => {
    const locks = await service();
    const [readers, writers] = [new Occupancy(), new Occupancy()];
    await locks.withLock('k', async () => {
      const calls = Array.from({ length: 12 }, (_, n) =>
        n % 4 === 3
          ? locks.withLock('k', () => writers.visit())
          : locks.withLock('k', shared, () => readers.visit()),
      );
      await Promise.all(calls);
    });
    expect([readers.highest, writers.highest]).toEqual([3, 1]);
    expect([readers.total, writers.total]).toEqual([9, 3]);
  });

  it('an exclusive call is refused at once inside a shared hold, with advice', async () => {
    const locks = await service();
    let ran = false;
    const upgrade = locks.withLock('k', shared, () =>
      locks.withLock('k', { waitTime: '1h' }, async () => (ran = true)),
    );
    const error = await upgrade.catch((it: unknown) => it);
    expect(error).toBeInstanceOf(LockUpgradeError);
    expect(error).toMatchObject({
      code: 'LOCK_UPGRADE',
      key: 'k',
      methodRan: false,
      committed: false,
      retryable: false,
      message: expect.stringMatching(
        /held .* as shared, and asked for as exclusive.*Take it excl/s,
      ),
    });
    expect(ran).toBe(false);
    expect(await locks.tryAcquire('k'), 'the outer hold is released').not.toBeNull();
  });

  it('of several keys none is taken where one cannot be joined', async () => {
    const locks = await service();
    await locks.withLock('b', shared, async () => {
      await expect(locks.acquire(['a', 'b', 'c'])).rejects.toBeInstanceOf(LockUpgradeError);
      await using a = await locks.tryAcquire('a');
      expect(a).not.toBeNull();
    });
  });

  it('a permit is joined by its kind only', async () => {
    const locks = await service();
    await locks.withLock('k', { permits: 1 }, async (outer) => {
      await locks.withLock('k', { permits: 1 }, async (inner) =>
        expect(inner.owner).toBe(outer.owner),
      );
      for (const options of [{}, shared])
        await expect(locks.acquire('k', options)).rejects.toBeInstanceOf(LockUpgradeError);
    });
  });

  it('a chain that only started inside asks for itself', async () => {
    const locks = await service();
    const hold = await locks.acquire('k', shared); // not the inside of anything
    expect(await locks.tryAcquire('k')).toBeNull();
    await hold.release();
  });
});

describe('several keys', () => {
  it.each([
    ['shared', { mode: 'shared' }, 2, 12],
    ['permits', { permits: 2 }, 2, 2],
    ['fair', { fair: true }, 1, 1],
  ] as const)('are held together: %s', async (_name, options, atLeast, atMost) => {
    const locks = await service();
    const occupancy = new Occupancy();
    const { errors } = await raceTogether(12, (n) =>
      locks.withLock(n % 2 ? ['a', 'b'] : ['b', 'a'], options, async (hold) => {
        expect(hold.keys).toEqual(['a', 'b']);
        await occupancy.visit();
        expect(hold.isHeld()).toBe(true);
      }),
    );
    expect(errors).toEqual([]);
    expect(occupancy.highest).toBeGreaterThanOrEqual(atLeast);
    expect(occupancy.highest).toBeLessThanOrEqual(atMost);
    expect(await locks.tryAcquire(['a', 'b'])).not.toBeNull();
  });
});

describe('the transaction of a shared holder', () => {
  it('is not fenced, and says so to the runner', async () => {
    const asked: TransactionOptions[] = [];
    class Runner extends NotedTransactions {
      override run: NotedTransactions['run'] = (options, hold, work) => {
        asked.push(options);
        return super.run(options, hold, work);
      };
    }
    const transactions = new Runner();
    const module = DistributedLockModule.forRoot({ store: memoryStore(), transactions });
    const locks = (await startApp({ imports: [module] })).get(DistributedLockService);
    await locks.withTransaction('k', { mode: 'shared' }, async () => undefined);
    await locks.withTransaction('k', { permits: 2 }, async () => undefined);
    await locks.withTransaction('k', { fair: true }, async () => undefined);
    expect(asked).toEqual([{ fenced: false }, { fenced: false }, {}]);
    await expect(
      locks.withTransaction('k', { permits: 2, transaction: { fenced: true } }, async () => 1),
    ).rejects.toThrow(/transaction.fenced" is true, but a permit holder has no fencing token/);
  });

  it('is refused at boot if it shall be fenced', async () => {
    class Report {
      @DistributedLock({ key: 'k', mode: 'shared', transaction: { fenced: true } })
      async read(): Promise<void> {}
    }
    const module = DistributedLockModule.forRoot({
      store: memoryStore(),
      transactions: new NotedTransactions(),
    });
    await expect(startApp({ imports: [module], providers: [Report] })).rejects.toThrow(
      /Report\.read: transaction\.fenced" is true, but a shared holder .*takes the lock exclusively/,
    );
  });
});

describe('a store that does not offer it', () => {
  class Shared {
    @DistributedLock({ key: 'k', mode: 'shared' })
    async read(): Promise<void> {}
  }
  class Permits {
    @DistributedLock('k', { permits: 2 })
    async run(): Promise<void> {}
  }
  class Fair {
    @DistributedLock('k', { fair: true })
    async run(): Promise<void> {}
  }

  it.each([
    [Shared, 'Shared.read: mode', '"shared"'],
    [Permits, 'Permits.run: permits', '2'],
    [Fair, 'Fair.run: fair', 'true'],
  ])('is refused at boot: %o', async (Provider, option, value) => {
    const boot = startApp({ imports: [withStore(plainStore())], providers: [Provider] });
    const error: unknown = await boot.catch((it: unknown) => it);
    expect(error).toBeInstanceOf(LockConfigurationError);
    const message = `Option "${option}" is ${value}, which the store "plain" does not offer; allowed: another store, such as memoryStore, redisStore`;
    expect(String(error)).toContain(message);
  });

  it('is refused at the call of the service, and for the default of the module', async () => {
    const locks = await service(plainStore());
    await expect(locks.acquire('k', { mode: 'shared' })).rejects.toThrow(
      'Option "DistributedLockService.acquire: mode" is "shared", which the store "plain"',
    );
    const module = DistributedLockModule.forRootAsync({
      useFactory: () => ({ store: plainStore(), fair: true }),
    });
    await expect(startApp({ imports: [module] })).rejects.toThrow(
      'Option "fair" is true, which the store "plain" does not offer',
    );
  });

  it('need not offer "fair" where its order is that anyway', async () => {
    const locks = await service(plainStore('fifo'));
    await (await locks.acquire('k', { fair: true })).release();
  });

  it('with a fair module, another call may say no', async () => {
    const asked: unknown[] = [];
    const memory = memoryStore();
    const store = storeWith({
      acquire: (request) => {
        asked.push(request.admission);
        return memory.acquire(request);
      },
      release: (grant) => memory.release(grant),
    });
    const module = DistributedLockModule.forRoot({ store, fair: true });
    const locks = (await startApp({ imports: [module] })).get(DistributedLockService);
    await (await locks.acquire('k')).release();
    await (await locks.acquire('k', { fair: false })).release();
    expect(asked).toEqual([{ mode: 'exclusive', fair: true }, undefined]);
  });
});

describe('what cannot be meant is refused when the class is defined', () => {
  it.each([
    [{ mode: 'read' }, `mode" is "read"; allowed: 'exclusive', 'shared'`],
    [{ permits: 0 }, 'permits" is 0; allowed: a whole number from 1 to 10000'],
    [{ permits: 1.5 }, 'permits" is 1.5; allowed: a whole number'],
    [{ permits: '3' }, 'permits" is "3"; allowed: a whole number'],
    [{ permits: 3, mode: 'shared' }, 'mode" is "shared"; allowed: none beside "permits"'],
    [{ fair: 'yes' }, 'fair" is "yes"; allowed: true, false'],
  ])('%o', (options, message) => {
    const decorate = DistributedLock('k', options as object);
    class Job {
      async run(): Promise<void> {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Job.prototype, 'run')!;
    const define = () => decorate(Job.prototype, 'run', descriptor);
    expect(define).toThrow(LockConfigurationError);
    expect(define).toThrow(`Option "Job.run: ${message}`);
  });
});
