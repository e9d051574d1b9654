import {
  Global,
  Injectable,
  Logger,
  Module,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import {
  currentHold,
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
  LockClosedError,
  LockLostError,
  LockStoreUnavailableError,
  memoryStore,
} from 'nestjs-distributed-lock';
import { describe, expect, it, vi } from 'vitest';
import { Gate, NotedTransactions, startApp, storeWith, until } from './support.js';

describe('app.close()', () => {
  @Injectable()
  class Jobs {
    entered = 0;
    readonly gate = new Gate();

    @DistributedLock('job')
    async run(): Promise<string> {
      this.entered += 1;
      await this.gate.opened;
      return 'finished';
    }

    @DistributedLock('job')
    async untilLost(): Promise<void> {
      this.entered += 1;
      await new Promise((resolve) => currentHold()!.lost.addEventListener('abort', resolve));
    }
  }

  it('turns waiters away, lets the running method commit, then closes the store, then the database', async () => {
    const order: string[] = [];
    const memory = memoryStore();
    const store = storeWith({
      open: (...args) => memory.open(...args),
      acquire: (request) => memory.acquire(request),
      release: (grant) => memory.release(grant),
      stop: () => memory.stop(),
      close: async () => {
        order.push('store closed');
        await memory.close();
      },
    });
    const transactions = new NotedTransactions();
    @Injectable()
    class Database implements OnModuleDestroy, OnApplicationShutdown {
      onModuleDestroy(): void {
        order.push('onModuleDestroy');
      }
      onApplicationShutdown(): void {
        order.push('database closed');
      }
    }
    const app = await startApp({
      imports: [DistributedLockModule.forRoot({ store, transactions })],
      providers: [Jobs, Database],
    });
    const jobs = app.get(Jobs);
    const running = jobs.run();
    await until(() => jobs.entered === 1, 'the holder is inside');
    const waiting = jobs.run().catch((error: unknown) => error);

    const closing = app.close();
    expect(await waiting).toBeInstanceOf(LockClosedError);
    expect(transactions.notes).toEqual(['START default']);
    jobs.gate.open();
    expect(await running).toBe('finished');
    expect(transactions.notes).toEqual(['START default', 'COMMIT']);
    await closing;
    expect(order).toEqual(['onModuleDestroy', 'store closed', 'database closed']);
    expect(jobs.entered).toBe(1);
    await expect(jobs.run()).rejects.toThrow(LockClosedError);
  });

  it('gives up what is still held after the grace time, and rolls it back', async () => {
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const transactions = new NotedTransactions();
    const app = await startApp({
      imports: [
        DistributedLockModule.forRoot({ store: memoryStore(), transactions, shutdownGrace: 30 }),
      ],
      providers: [Jobs],
    });
    const running = app.get(Jobs).untilLost();
    const answer = running.catch((error: unknown) => error);
    await until(() => app.get(Jobs).entered === 1, 'the holder is inside');
    await app.close();
    const error = await answer;
    expect(error).toBeInstanceOf(LockLostError);
    expect(error).toMatchObject({ reason: 'closed' });
    expect(transactions.notes).toEqual(['START default', 'ROLLBACK']);
    vi.restoreAllMocks();
  });

  it("locks taken in another provider's onModuleDestroy still work, also in a global module", async () => {
    @Injectable()
    class Flushing implements OnModuleDestroy {
      flushed = false;
      constructor(private readonly locks: DistributedLockService) {}
      async onModuleDestroy(): Promise<void> {
        this.flushed = await this.locks.withLock('flush', async () => true);
      }
    }
    @Global()
    @Module({ providers: [Flushing] })
    class Outbox {}
    const app = await startApp({
      imports: [Outbox, DistributedLockModule.forRoot({ store: memoryStore() })],
    });
    await app.close();
    expect(app.get(Flushing).flushed).toBe(true);
  });
});

describe('the log', () => {
  it('warns of a lost lock and of a release that failed, and says nothing else', async () => {
    const warned: string[] = [];
    const log = vi.spyOn(Logger.prototype, 'log');
    const warn = vi
      .spyOn(Logger.prototype, 'warn')
      .mockImplementation((text: unknown) => void warned.push(String(text)));
    const memory = memoryStore();
    const store = storeWith({
      open: (...args) => memory.open(...args),
      acquire: (request) => memory.acquire(request),
      release: ({ key }) =>
        Promise.reject(new LockStoreUnavailableError('memory', key, 'connection reset')),
    });
    const app = await startApp({ imports: [DistributedLockModule.forRoot({ store })] });
    const logsOfBoot = log.mock.calls.length;
    const locks = app.get(DistributedLockService);

    expect(await locks.withLock('failing', async () => 'committed')).toBe('committed');
    expect(warned).toEqual([
      expect.stringMatching(
        /^Lock "failing" could not be released and ends with its lease: .*connection reset/,
      ),
    ]);

    const hold = await locks.acquire('short', { leaseTime: 100, renew: false });
    await until(() => hold.lost.aborted, 'the lease is over');
    expect(warned[1]).toMatch(/^Lock "short" was lost after \d+ ms \(expired\)\.$/);
    expect(warned).toHaveLength(2);
    expect(log.mock.calls.length).toBe(logsOfBoot);
    warn.mockRestore();
    log.mockRestore();
  });
});
