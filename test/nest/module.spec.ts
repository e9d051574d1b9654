import { Injectable, Logger, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DistributedLock,
  DistributedLockModule,
  type DistributedLockModuleOptions,
  type DistributedLockOptionsFactory,
  DistributedLockService,
  getDistributedLockToken,
  InjectDistributedLock,
  LockConfigurationError,
  LockStoreUnavailableError,
  memoryStore,
} from 'nestjs-distributed-lock';
import { describe, expect, it, vi } from 'vitest';
import { Gate, locks, NotedTransactions, startApp, storeWith, until } from './support.js';

const bootError = async (...imports: readonly unknown[]): Promise<Error> => {
  try {
    await startApp({ imports: imports as [] });
  } catch (error) {
    return error as Error;
  }
  throw new Error('the application started');
};

/** Options as they arrive from JavaScript or a configuration file. */
const unchecked = (options: object) =>
  ({ store: memoryStore(), ...options }) as DistributedLockModuleOptions;

describe('options are checked at boot: the message names the option, what was given and what is allowed', () => {
  it.each<[object, string, RegExp]>([
    [
      { waittime: '3s' },
      'Option "waittime" is not known (given: "3s")',
      /allowed: store, namespace, waitTime/,
    ],
    [{ waitTime: '3 sekunden' }, 'Option "waitTime" is "3 sekunden"', /allowed: .*'10s'/],
    [{ waitTime: -1 }, 'Option "waitTime" is -1', /allowed: 0 ms to/],
    [{ waitTime: Number.NaN }, 'Option "waitTime" is NaN', /allowed/],
    [{ waitTime: '25d' }, 'Option "waitTime" is "25d"', /allowed/],
    [{ leaseTime: 99 }, 'Option "leaseTime" is 99', /allowed: 100 ms to/],
    [{ leaseTime: '0s' }, 'Option "leaseTime" is "0s"', /allowed: 100 ms to/],
    [{ leaseTime: null }, 'Option "leaseTime" is null', /allowed/],
    [{ renew: 'yes' }, 'Option "renew" is "yes"', /allowed: true, false/],
    [{ namespace: '' }, 'Option "namespace" is ""', /allowed: 1 to 64 of the characters/],
    [{ namespace: 'a:b' }, 'Option "namespace" is "a:b"', /allowed: 1 to 64/],
    [{ namespace: '{tag}' }, 'Option "namespace" is "{tag}"', /allowed: 1 to 64/],
    [
      { store: undefined },
      'Option "store" is undefined',
      /allowed: a lock store, such as redisStore/,
    ],
    [
      { store: 'redis://localhost' },
      'Option "store" is "redis://localhost"',
      /allowed: a lock store/,
    ],
    [{ store: { open: () => undefined } }, 'Option "store" is {}', /allowed: a lock store/],
    [{ transactions: true }, 'Option "transactions" is true', /allowed: .*typeormTransactions\(\)/],
    [{ transactions: {} }, 'Option "transactions" is {}', /allowed/],
    [{ connectOnBoot: 1 }, 'Option "connectOnBoot" is 1', /allowed: true, false/],
    [{ shutdownGrace: '-5s' }, 'Option "shutdownGrace" is "-5s"', /allowed: 0 ms to/],
    [{ isGlobal: 'no' }, 'Option "isGlobal" is "no"', /allowed: true, false/],
    [{ name: '' }, 'Option "name" is ""', /allowed: a text, not empty/],
    [{ name: 7 }, 'Option "name" is 7', /allowed: a text, not empty/],
  ])('%j', async (options, given, allowed) => {
    const error = await bootError(
      ...(await imported(() => DistributedLockModule.forRoot(unchecked(options)))),
    );
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(error.message).toContain(given);
    expect(error.message).toMatch(allowed);
  });

  it('options that are no object', async () => {
    const useFactory = () => undefined as unknown as DistributedLockModuleOptions;
    const error = await bootError(DistributedLockModule.forRootAsync({ useFactory }));
    expect(error.message).toContain(
      'The options of DistributedLockModule are undefined; allowed: an object',
    );
  });

  it('what forRootAsync is given', () => {
    const useFactory = () => ({ store: memoryStore() });
    expect(() => DistributedLockModule.forRootAsync({ useFactroy: useFactory } as never)).toThrow(
      /"forRootAsync: useFactroy" is not known .*allowed: imports, inject, useFactory/,
    );
    expect(() => DistributedLockModule.forRootAsync({})).toThrow(
      /has no source of options; allowed: one of useFactory/,
    );
    expect(() => DistributedLockModule.forRootAsync({ useFactory, useClass: Factory })).toThrow(
      /has useFactory and useClass; allowed: one of/,
    );
  });

  it('control: every option with a value that is allowed starts', async () => {
    const app = await startApp({
      imports: [
        DistributedLockModule.forRoot({
          store: memoryStore(),
          namespace: 'Quotes.v2_a-b',
          waitTime: 0,
          leaseTime: '100ms',
          renew: false,
          transactions: new NotedTransactions(),
          connectOnBoot: false,
          shutdownGrace: '1m',
          isGlobal: true,
          name: 'all',
        }),
      ],
    });
    expect(app.get(getDistributedLockToken('all'))).toBeInstanceOf(DistributedLockService);
  });
});

/** `name` and `isGlobal` are refused when the module is described, the rest when it is started. Both are boot to a user. */
async function imported(describeModule: () => unknown): Promise<readonly unknown[]> {
  try {
    return [describeModule()];
  } catch (error) {
    return [
      {
        module: class Failing {},
        providers: [{ provide: 'x', useFactory: () => Promise.reject(error) }],
      },
    ];
  }
}

@Injectable()
class Factory implements DistributedLockOptionsFactory {
  static made = 0;

  constructor() {
    Factory.made += 1;
  }

  createDistributedLockOptions(): DistributedLockModuleOptions {
    return { store: memoryStore(), waitTime: 7 };
  }
}

@Module({
  providers: [Factory, { provide: 'WAIT_TIME', useValue: 7 }],
  exports: [Factory, 'WAIT_TIME'],
})
class ConfigModule {}

@Injectable()
class Quotes {
  constructor(readonly locks: DistributedLockService) {}

  @DistributedLock('application:{applicationId}')
  async submit(applicationId: string): Promise<string> {
    return applicationId;
  }
}

describe('forRootAsync', () => {
  /** The wait time that the options said is the one that calls wait. */
  const waitTimeOf = async (quotes: Quotes): Promise<unknown> => {
    await using _hold = await quotes.locks.acquire('application:42');
    return await quotes
      .submit('42')
      .catch((error: unknown) => (error as { waitTimeMs: number }).waitTimeMs);
  };

  it.each([
    [
      'useFactory, with what it injects',
      () =>
        DistributedLockModule.forRootAsync({
          imports: [ConfigModule],
          inject: ['WAIT_TIME'],
          useFactory: async (waitTime: number) => ({ store: memoryStore(), waitTime }),
        }),
    ],
    ['useClass', () => DistributedLockModule.forRootAsync({ useClass: Factory })],
    [
      'useExisting',
      () => DistributedLockModule.forRootAsync({ imports: [ConfigModule], useExisting: Factory }),
    ],
  ])('%s', async (_way, module) => {
    const app = await startApp({ imports: [module()], providers: [Quotes] });
    expect(await waitTimeOf(app.get(Quotes))).toBe(7);
  });

  it('useExisting makes no second instance', async () => {
    Factory.made = 0;
    await startApp({
      imports: [
        DistributedLockModule.forRootAsync({ imports: [ConfigModule], useExisting: Factory }),
      ],
    });
    expect(Factory.made).toBe(1);
  });

  it('takes name and isGlobal beside the factory', async () => {
    const useFactory = () => ({ store: memoryStore() });
    const app = await startApp({
      imports: [DistributedLockModule.forRootAsync({ name: 'jobs', useFactory })],
    });
    expect(app.get(getDistributedLockToken('jobs'))).toBeInstanceOf(DistributedLockService);
  });
});

describe('several modules', () => {
  it('@InjectDistributedLock(name) injects the one of that name', async () => {
    @Injectable()
    class Uses {
      constructor(
        readonly main: DistributedLockService,
        @InjectDistributedLock() readonly same: DistributedLockService,
        @InjectDistributedLock('jobs') readonly jobs: DistributedLockService,
      ) {}
    }
    const jobs = DistributedLockModule.forRoot({ name: 'jobs', store: memoryStore() });
    const {
      main,
      same,
      jobs: named,
    } = (await startApp({ imports: [locks(), jobs], providers: [Uses] })).get(Uses);
    expect(main).toBe(same);
    expect(named).not.toBe(main);
    await using _hold = await main.acquire('x');
    await using other = await named.tryAcquire('x');
    expect(other).not.toBeNull();
    expect(await main.tryAcquire('x')).toBeNull();
  });

  it('of one name are refused at boot', async () => {
    expect((await bootError(locks(), locks())).message).toContain(
      'Option "name" is "default" in two DistributedLockModules',
    );
    const jobs = () => DistributedLockModule.forRoot({ name: 'jobs', store: memoryStore() });
    expect((await bootError(locks(), jobs(), jobs())).message).toContain(
      'Option "name" is "jobs" in two',
    );
  });

  it('one module imported in several places is one module', async () => {
    const shared = locks();
    @Module({ imports: [shared] })
    class Feature {}
    await startApp({ imports: [shared, Feature] });
  });

  it.each(['store', 'transactions'] as const)('cannot share one %s', async (option) => {
    const shared = { store: memoryStore(), transactions: new NotedTransactions() }[option];
    const module = (name: string) =>
      DistributedLockModule.forRoot({
        name,
        store: memoryStore(),
        [option]: shared,
      });
    const error = await bootError(module('a'), module('b'));
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(error.message).toMatch(
      new RegExp(`Option "${option}" of the module "[ab]" is in use by the module "[ab]"`),
    );
  });

  it('isGlobal: false locks only for modules that import it', async () => {
    const local = () => DistributedLockModule.forRoot({ store: memoryStore(), isGlobal: false });
    @Injectable()
    class Locked {
      @DistributedLock('x')
      async run(): Promise<void> {}
    }
    @Module({ providers: [Locked] })
    class Without {}
    expect((await bootError(local(), Without)).message).toContain('DistributedLockModule.forRoot(');
    const module = local();
    @Module({ imports: [module], providers: [Quotes] })
    class With {}
    const app = await startApp({ imports: [module, With] });
    expect(await app.get(Quotes, { strict: false }).submit('42')).toBe('42');
  });

  it('one module class may be started again after its application has closed', async () => {
    @Module({ imports: [locks()], providers: [Quotes] })
    class AppModule {}
    for (let round = 0; round < 2; round += 1) {
      const app = await startApp({ imports: [AppModule] });
      expect(await app.get(Quotes).submit('42')).toBe('42');
      await app.close();
    }
  });
});

describe('a store that cannot be reached at boot', () => {
  const unavailable = () => new LockStoreUnavailableError('memory', null, 'connection refused');

  it('stops the boot, is given 5 seconds and closed again', async () => {
    const open = vi.fn(() => Promise.reject(unavailable()));
    const close = vi.fn(async () => undefined);
    const store = storeWith({ open, close });
    const error = await bootError(DistributedLockModule.forRoot({ store, namespace: 'quotes' }));
    expect(error).toBeInstanceOf(LockStoreUnavailableError);
    expect(open).toHaveBeenCalledWith('quotes', 5_000);
    expect(close).toHaveBeenCalledOnce();
    expect((await bootError(DistributedLockModule.forRoot({ store }))).message).toContain(
      'connection refused',
    );
  });

  it('with connectOnBoot: false the application starts, warns, and works once the store is there', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const failed = new Gate();
    const memory = memoryStore();
    const store = storeWith({
      open: async (...args) => {
        await failed.opened;
        await memory.open(...args);
        throw unavailable();
      },
      acquire: (request) => memory.acquire(request),
      release: (grant) => memory.release(grant),
    });
    const app = await startApp({
      imports: [DistributedLockModule.forRoot({ store, connectOnBoot: false })],
      providers: [Quotes],
    });
    expect(warn).not.toHaveBeenCalled();
    failed.open();
    await until(() => warn.mock.calls.length > 0, 'a warning');
    expect(String(warn.mock.calls[0]![0])).toContain(
      'starts without its lock store: LockStoreUnavailableError',
    );
    expect(await app.get(Quotes).submit('42')).toBe('42');
    warn.mockRestore();
  });

  it('with connectOnBoot: false a server that cannot carry locks is never locked with', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const wrong = new LockConfigurationError(
      'maxmemory-policy is "allkeys-lru"; allowed: "noeviction".',
    );
    const store = storeWith({ open: () => Promise.reject(wrong) });
    const app = await startApp({
      imports: [DistributedLockModule.forRoot({ store, connectOnBoot: false })],
      providers: [Quotes],
    });
    await expect(app.get(Quotes).submit('42')).rejects.toBe(wrong);
    warn.mockRestore();
  });
});

describe('before bootstrap', () => {
  it('an application that was compiled but not initialised locks, and has adopted its instances', async () => {
    const transactions = new NotedTransactions();
    const module = await Test.createTestingModule({
      imports: [DistributedLockModule.forRoot({ store: memoryStore(), transactions })],
      providers: [Quotes],
    }).compile();
    expect(transactions.adopted).toBeNull();
    expect(await module.get(Quotes).submit('42')).toBe('42');
    expect(transactions.adopted).toContain(module.get(Quotes));
    await module.close();
  });

  it("a lock taken in another provider's onModuleInit works", async () => {
    @Injectable()
    class Warm {
      warmed: string | null = null;
      constructor(readonly quotes: Quotes) {}
      async onModuleInit(): Promise<void> {
        this.warmed = await this.quotes.submit('42');
      }
    }
    const app = await startApp({ imports: [locks()], providers: [Quotes, Warm] });
    expect(app.get(Warm).warmed).toBe('42');
  });
});
