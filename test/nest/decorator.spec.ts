import { Injectable } from '@nestjs/common';
import {
  currentHold,
  DistributedLock,
  DistributedLockModule,
  LockConfigurationError,
  LockInsideTransactionError,
  LockKeyError,
  memoryStore,
  type TimeoutContext,
} from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { describe, expect, it } from 'vitest';
import { Gate, locks, NotedTransactions, Occupancy, startApp } from './support.js';

/** What `@DistributedLock(...given)` on a method throws when its class is defined. */
const definitionError = (...given: readonly unknown[]): Error => {
  const decorate = DistributedLock as unknown as (...args: readonly unknown[]) => MethodDecorator;
  try {
    class Quotes {
      @decorate(...given)
      async submit(_applicationId: string): Promise<void> {}
    }
    void Quotes;
  } catch (error) {
    return error as Error;
  }
  throw new Error('the class was defined');
};

describe('at class definition, the message names the method, the option, its value and what is allowed', () => {
  it.each<[readonly unknown[], string, RegExp]>([
    [
      [{ key: 'a', waittime: 1 }],
      'Option "Quotes.submit: waittime" is not known (given: 1)',
      /allowed: key, use, waitTime/,
    ],
    [[{ key: 'a', waitTime: 'soon' }], 'Option "Quotes.submit: waitTime" is "soon"', /allowed/],
    [[{ key: 'a', waitTime: -1 }], 'Option "Quotes.submit: waitTime" is -1', /allowed: 0 ms/],
    [[{ key: 'a', leaseTime: 50 }], 'Option "Quotes.submit: leaseTime" is 50', /allowed: 100 ms/],
    [[{ key: 'a', renew: 1 }], 'Option "Quotes.submit: renew" is 1', /allowed: true, false/],
    [
      [{ key: 'a', onTimeout: 'ignore' }],
      'Option "Quotes.submit: onTimeout" is "ignore"',
      /allowed: 'throw', 'skip'/,
    ],
    [
      [{ key: 'a', transaction: 'yes' }],
      'Option "Quotes.submit: transaction" is "yes"',
      /allowed: true, false/,
    ],
    [[{ key: 'a', transaction: null }], 'Option "Quotes.submit: transaction" is null', /allowed/],
    [[{ key: 'a', use: '' }], 'Option "Quotes.submit: use" is ""', /allowed: the name/],
    [[{}], 'Quotes.submit: option "key" is undefined', /allowed: a key expression/],
    [[], 'Quotes.submit: option "key" is undefined', /allowed: a key expression/],
    [[42], 'Quotes.submit: option "key" is 42', /allowed: a key expression/],
    [['a', 'b'], 'Quotes.submit: the options are "b"', /allowed: an object/],
    [['a', { key: 'b', ttl: 1 }], 'Option "Quotes.submit: ttl" is not known', /allowed/],
    [['a:{id}'], 'names the parameter "id", but the method has: _applicationId', /_applicationId/],
  ])('%j', (given, said, allowed) => {
    const error = definitionError(...given);
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(error.message).toContain(said);
    expect(error.message).toMatch(allowed);
  });

  const decorate = DistributedLock('a') as unknown as MethodDecorator & PropertyDecorator;
  const refused: Record<string, [define: () => unknown, message: RegExp]> = {
    'a static method': [
      () => {
        class Quotes {
          @decorate static async run(): Promise<void> {}
        }
        return Quotes;
      },
      /Quotes\.run: .* a static method/,
    ],
    'a property': [
      () => {
        class Quotes {
          @decorate run = async () => undefined;
        }
        return Quotes;
      },
      /a property or an accessor/,
    ],
    'a getter': [
      () => {
        class Quotes {
          @decorate get run(): number {
            return 1;
          }
        }
        return Quotes;
      },
      /a property or an accessor/,
    ],
    'a generator': [
      () => {
        class Quotes {
          @decorate *run(): Generator {
            yield 1;
          }
        }
        return Quotes;
      },
      /a generator/,
    ],
    'an async generator': [
      () => {
        class Quotes {
          @decorate async *run(): AsyncGenerator {
            yield 1;
          }
        }
        return Quotes;
      },
      /a generator/,
    ],
    'a second lock on one method': [
      () => {
        class Quotes {
          @decorate @decorate async run(): Promise<void> {}
        }
        return Quotes;
      },
      /has one already; return several keys/,
    ],
  };

  it.each(Object.keys(refused))('it refuses %s', (what) => {
    const [define, message] = refused[what]!;
    expect(define).toThrow(LockConfigurationError);
    expect(define).toThrow(message);
  });
});

describe('keys of a call', () => {
  @Injectable()
  class Keys {
    ran = 0;
    tenant = 'acme';

    @DistributedLock((applicationId: string) => `application:${applicationId}`)
    async typed(_applicationId: string): Promise<string> {
      return currentHold()!.key;
    }

    @DistributedLock(function (this: Keys, id: string) {
      return [`${this.tenant}:b:${id}`, `${this.tenant}:a:${id}`];
    })
    async several(_id: string): Promise<readonly string[]> {
      return currentHold()!.keys;
    }

    @DistributedLock({ key: 'a:{command.application.id}:{command.lines.0.sku}' })
    async nested(command: unknown): Promise<string> {
      void command;
      return currentHold()!.key;
    }

    @DistributedLock('a:{command.application.id}')
    async expression(command: unknown): Promise<unknown> {
      this.ran += 1;
      return command;
    }

    @DistributedLock(() => [])
    async none(): Promise<void> {
      this.ran += 1;
    }

    @DistributedLock((id: string | undefined) => `a:${id}`)
    async hole(_id: string | undefined): Promise<void> {
      this.ran += 1;
    }
  }

  const start = async () => (await startApp({ imports: [locks()], providers: [Keys] })).get(Keys);

  it('come from a typed function, with the instance as `this`, and several are held together', async () => {
    const keys = await start();
    expect(await keys.typed('42')).toBe('application:42');
    expect(await keys.several('1')).toEqual(['acme:a:1', 'acme:b:1']);
  });

  it('come from paths of any depth', async () => {
    const keys = await start();
    expect(await keys.nested({ application: { id: 7 }, lines: [{ sku: 'x:y' }] })).toBe(
      'a:7:x%3Ay',
    );
  });

  it.each<[string, (keys: Keys) => Promise<unknown>]>([
    ['undefined', (keys) => keys.expression({ application: {} })],
    ['an object', (keys) => keys.expression({ application: { id: {} } })],
    ['nothing to walk into', (keys) => keys.expression(undefined)],
    ['an empty list', (keys) => keys.none()],
    ['a printed hole', (keys) => keys.hole(undefined)],
  ])('%s rejects with LockKeyError, and the method does not run', async (_what, call) => {
    const keys = await start();
    await expect(call(keys)).rejects.toThrow(LockKeyError);
    expect(keys.ran).toBe(0);
  });
});

describe('a call that gets no lock in time', () => {
  const contexts: TimeoutContext[] = [];

  @Injectable()
  class Jobs {
    ran = 0;
    readonly gate = new Gate();

    @DistributedLock('job')
    async hold(): Promise<void> {
      this.ran += 1;
      await this.gate.opened;
    }

    @DistributedLock('job', { waitTime: 0 })
    async throwing(): Promise<void> {
      this.ran += 1;
    }

    @DistributedLock({ key: 'job', waitTime: 0, onTimeout: 'skip' })
    async skipping(): Promise<number | undefined> {
      return (this.ran += 1);
    }

    @DistributedLock({
      key: 'job',
      waitTime: 0,
      onTimeout: (context) => {
        contexts.push(context);
        return -1;
      },
    })
    async falling(_argument: string): Promise<number> {
      return (this.ran += 1);
    }
  }

  it('throws, skips or falls back; the method does not run', async () => {
    const jobs = (await startApp({ imports: [locks()], providers: [Jobs] })).get(Jobs);
    const holding = jobs.hold();
    await expect(jobs.throwing()).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
      methodRan: false,
    });
    expect(await jobs.skipping()).toBeUndefined();
    expect(await jobs.falling('argument')).toBe(-1);
    expect(contexts).toEqual([
      {
        keys: ['job'],
        method: 'Jobs.falling',
        args: ['argument'],
        waitTimeMs: 0,
        error: expect.objectContaining({ code: 'LOCK_WAIT_TIMEOUT' }),
      },
    ]);
    expect(jobs.ran).toBe(1);
    jobs.gate.open();
    await holding;
    expect(await jobs.skipping()).toBe(2);
  });

  it('an error of the method is the very same object, and frees the lock', async () => {
    const error = Object.freeze(new TypeError('business'));
    @Injectable()
    class Failing {
      @DistributedLock('f', { waitTime: 0 })
      async run(): Promise<void> {
        throw error;
      }
      @DistributedLock('f', { waitTime: 0 })
      sync(): Promise<void> {
        throw error;
      }
    }
    const failing = (await startApp({ imports: [locks()], providers: [Failing] })).get(Failing);
    for (let call = 0; call < 2; call += 1) {
      expect(await failing.run().catch((reason: unknown) => reason)).toBe(error);
      expect(await failing.sync().catch((reason: unknown) => reason)).toBe(error);
    }
  });
});

describe('the transaction of a locked method', () => {
  const start = async (transactions: NotedTransactions | undefined, type: new () => object) => {
    const module = DistributedLockModule.forRoot({
      store: memoryStore(),
      ...(transactions && { transactions }),
    });
    return startApp({ imports: [module], providers: [type] });
  };

  @Injectable()
  class Orders {
    @DistributedLock('order')
    async byDefault(): Promise<void> {}

    @DistributedLock('order', { transaction: { isolation: 'SERIALIZABLE' } })
    async isolated(): Promise<void> {}

    @DistributedLock('order', { transaction: false })
    async without(): Promise<void> {}

    @DistributedLock('order')
    async failing(): Promise<void> {
      throw new Error('business');
    }
  }

  it('is there by default when the module has transactions, and as the options say', async () => {
    const transactions = new NotedTransactions();
    const orders = (await start(transactions, Orders)).get(Orders);
    await orders.byDefault();
    await orders.isolated();
    await orders.without();
    await expect(orders.failing()).rejects.toThrow('business');
    expect(transactions.notes).toEqual([
      'START default',
      'COMMIT',
      'START SERIALIZABLE',
      'COMMIT',
      'START default',
      'ROLLBACK',
    ]);
  });

  it('is refused inside an open one; nothing runs', async () => {
    const transactions = new NotedTransactions();
    const orders = (await start(transactions, Orders)).get(Orders);
    transactions.open = { dataSource: 'default', openedAt: 'Bar.checkout (bar.ts:41:7)' };
    const error = await orders.byDefault().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LockInsideTransactionError);
    expect(error).toMatchObject({
      requestedBy: 'Orders.byDefault',
      openedAt: 'Bar.checkout (bar.ts:41:7)',
    });
    expect(transactions.notes).toEqual([]);
  });

  it.each([[{ transaction: true }], [{ transaction: { isolation: 'SERIALIZABLE' as const } }]])(
    '%j without transactions in the module fails at boot',
    async (options) => {
      @Injectable()
      class Wants {
        @DistributedLock('w', options)
        async run(): Promise<void> {}
      }
      const boot = start(undefined, Wants);
      await expect(boot).rejects.toThrow(LockConfigurationError);
      await expect(boot).rejects.toThrow(
        /Wants\.run: option "transaction" asks for a transaction, but the module "default" has no "transactions"/,
      );
    },
  );

  it('with options that the transactions do not know fails at boot', async () => {
    @Injectable()
    class Elsewhere {
      @DistributedLock('e', { transaction: { dataSource: 'reports' } })
      async run(): Promise<void> {}
    }
    await expect(start(new NotedTransactions(), Elsewhere)).rejects.toThrow(
      /Elsewhere\.run: Option "dataSource" is "reports"; allowed: "default"/,
    );
  });
});

describe('decorators in the wrong order', () => {
  /** Wraps and copies metadata, as decorators that open a transaction do. */
  function Transactional(): MethodDecorator {
    return (_prototype, _name, descriptor: PropertyDescriptor) => {
      const method = descriptor.value as (...args: unknown[]) => Promise<unknown>;
      const wrapper = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
        return Reflect.apply(method, this, args);
      };
      for (const key of Reflect.getMetadataKeys(method)) {
        Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapper);
      }
      descriptor.value = wrapper;
    };
  }

  /** The same as a proxy. */
  function ProxyTransactional(): MethodDecorator {
    return (_prototype, _name, descriptor: PropertyDescriptor) => {
      const method = descriptor.value as (...args: unknown[]) => Promise<unknown>;
      const proxy = new Proxy(method, {});
      for (const key of Reflect.getMetadataKeys(method)) {
        Reflect.defineMetadata(key, Reflect.getMetadata(key, method), proxy);
      }
      descriptor.value = proxy;
    };
  }

  const boot = (type: new () => object) => startApp({ imports: [locks()], providers: [type] });

  it('a wrapper outside the lock is refused at boot, with the way out', async () => {
    @Injectable()
    class Wrong {
      @Transactional()
      @DistributedLock('w')
      async run(): Promise<void> {}
    }
    @Injectable()
    class WrongProxy {
      @ProxyTransactional()
      @DistributedLock('w')
      async run(): Promise<void> {}
    }
    for (const type of [Wrong, WrongProxy]) {
      const booted = boot(type);
      await expect(booted).rejects.toThrow(LockConfigurationError);
      await expect(booted).rejects.toThrow(
        /\.run: another decorator wraps the method outside the lock.*Put @DistributedLock above @Transactional/,
      );
    }
  });

  it('also on a class that the provider only extends', async () => {
    class Base {
      @Transactional()
      @DistributedLock('w')
      async run(): Promise<void> {}
    }
    @Injectable()
    class Provider extends Base {}
    await expect(boot(Provider)).rejects.toThrow(/Base\.run: another decorator wraps/);
  });

  it('two locks with a wrapper between them are refused at class definition', () => {
    expect(() => {
      class Twice {
        @DistributedLock('outer')
        @Transactional()
        @DistributedLock('inner')
        async run(): Promise<void> {}
      }
      return Twice;
    }).toThrow(/has one already/);
  });

  it('a wrapper inside the lock is fine: by position, and by name where it keeps the names', async () => {
    const occupancy = new Occupancy();
    @Injectable()
    class Right {
      @DistributedLock('w:{0}')
      @Transactional()
      async run(id: string): Promise<unknown> {
        return occupancy.visit(id);
      }
    }
    const right = (await boot(Right)).get(Right);
    const { values } = await raceTogether(4, () => right.run('42'));
    expect(values).toEqual(['42', '42', '42', '42']);
    expect(occupancy.highest).toBe(1);
  });

  it('by name, a wrapper inside that hides the names is refused at class definition', () => {
    expect(() => {
      class Hidden {
        @DistributedLock('w:{id}')
        @Transactional()
        async run(id: string): Promise<string> {
          return id;
        }
      }
      return Hidden;
    }).toThrow(/If another decorator has wrapped the method, use a position such as \{0\}/);
    expect(() => {
      class HiddenByProxy {
        @DistributedLock('w:{id}')
        @ProxyTransactional()
        async run(id: string): Promise<string> {
          return id;
        }
      }
      return HiddenByProxy;
    }).toThrow(/parameter names cannot be read here/);
  });
});
