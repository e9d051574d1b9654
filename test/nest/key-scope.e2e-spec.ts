import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import {
  currentHold,
  DistributedLock,
  DistributedLockService,
  LockConfigurationError,
  LockKeyError,
} from 'nestjs-distributed-lock';
import { describe, expect, it } from 'vitest';
import { describeWith } from '../support/with-services.js';
import { redisLocks } from './redis-locks.js';
import { startApp } from './support.js';

const held = () => currentHold()?.keys;

describeWith('redis')('scope', () => {
  @Injectable()
  class Quotes {
    @DistributedLock('42', { scope: 'method' })
    async submit() {
      return held();
    }

    @DistributedLock({ key: () => ['b', 'a'], scope: 'method', waitTime: 0 })
    async review() {
      return held();
    }

    @DistributedLock('42', { scope: 'global', waitTime: 0 })
    async shared() {
      return held();
    }

    @DistributedLock('1', { scope: 'method' })
    async ['a:b#%']() {
      return held();
    }
  }

  @Injectable()
  class Orders {
    @DistributedLock('42', { scope: 'method', waitTime: 0 })
    async submit() {
      return held();
    }
  }

  it("'method' prefixes every key by class and method; equal keys elsewhere are other locks", async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Quotes, Orders] });
    const [quotes, orders, locks] = [
      app.get(Quotes),
      app.get(Orders),
      app.get(DistributedLockService),
    ];
    expect(await quotes.submit()).toEqual(['Quotes#submit:42']);
    expect(await quotes.review()).toEqual(['Quotes#review:a', 'Quotes#review:b']);
    expect(await quotes['a:b#%']()).toEqual(['Quotes#a%3Ab%23%25:1']);
    const mine = await locks.acquire('Quotes#submit:42');
    expect(await orders.submit()).toEqual(['Orders#submit:42']);
    expect(await quotes.shared()).toEqual(['42']);
    const waiting = quotes.submit();
    await mine.release();
    expect(await waiting).toEqual(['Quotes#submit:42']);
  });

  it("'global' is the default: methods of any class with equal keys exclude each other", async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Quotes] });
    await using hold = await app.get(DistributedLockService).acquire('42');
    expect(hold.isHeld()).toBe(true);
    await expect(app.get(Quotes).shared()).rejects.toMatchObject({ code: 'LOCK_WAIT_TIMEOUT' });
  });

  it('counts the prefix towards the longest key', async () => {
    class Long {
      @DistributedLock((id: string) => id, { scope: 'method' })
      async run(_id: string) {
        return held();
      }
    }
    const app = await startApp({ imports: [redisLocks()], providers: [Long] });
    const prefix = 'Long#run:'.length;
    expect(await app.get(Long).run('x'.repeat(512 - prefix))).toHaveLength(1);
    await expect(app.get(Long).run('x'.repeat(513 - prefix))).rejects.toBeInstanceOf(LockKeyError);
  });

  it('two classes of one name are refused at boot, as a minifier makes them', async () => {
    const minified = () => {
      class a {
        @DistributedLock('42', { scope: 'method' })
        async submit(): Promise<void> {}
      }
      return a;
    };
    await expect(
      startApp({ imports: [redisLocks()], providers: [minified(), minified()] }),
    ).rejects.toThrow('Option "a.submit: scope" is \'method\' in two classes of one name');
  });

  it('a subclass shares the locks of the method that it inherits', async () => {
    @Injectable()
    class Special extends Orders {}
    const app = await startApp({ imports: [redisLocks()], providers: [Orders, Special] });
    expect(await app.get(Special).submit()).toEqual(['Orders#submit:42']);
  });
});

describe('scope, when the class is defined', () => {
  it('is global or method', () => {
    expect(() => {
      class Bad {
        @DistributedLock('a', { scope: 'class' as never })
        async run(): Promise<void> {}
      }
      return Bad;
    }).toThrow('Option "Bad.run: scope" is "class"; allowed: \'global\', \'method\'.');
  });

  it("'method' needs names", () => {
    const name = Symbol('run');
    expect(() => {
      class Bad {
        @DistributedLock('a', { scope: 'method' })
        async [name](): Promise<void> {}
      }
      return Bad;
    }).toThrow(LockConfigurationError);
  });
});

describeWith('redis')('the tenant', () => {
  /** What nestjs-cls keeps, with nothing but Node. */
  const tenants = new AsyncLocalStorage<string>();
  const tenant = (): string => tenants.getStore()!;

  @Injectable()
  class Invoices {
    readonly region: string = 'eu';

    @DistributedLock((id: string) => `${tenant()}:invoice:${id}`, { waitTime: 0 })
    async send(_id: string) {
      return held();
    }

    @DistributedLock(
      function (this: Invoices, id: string) {
        return `${this.region}:invoice:${id}`;
      },
      { waitTime: 0 },
    )
    async archive(_id: string) {
      return held();
    }
  }

  it('of the calling chain, from AsyncLocalStorage, is part of the key: tenants do not wait for each other', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Invoices] });
    const [invoices, locks] = [app.get(Invoices), app.get(DistributedLockService)];
    await using hold = await locks.acquire('acme:invoice:1');
    expect(hold.isHeld()).toBe(true);
    expect(await tenants.run('umbrella', () => invoices.send('1'))).toEqual(['umbrella:invoice:1']);
    await expect(tenants.run('acme', () => invoices.send('1'))).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
      key: 'acme:invoice:1',
    });
    await expect(invoices.send('1'), 'without a tenant').rejects.toBeInstanceOf(LockKeyError);
  });

  it('of the instance, by `this`, is part of the key', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Invoices] });
    expect(await app.get(Invoices).archive('1')).toEqual(['eu:invoice:1']);
  });
});
