import { Controller, Get, Injectable, Scope } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DistributedLock,
  DistributedLockModule,
  LockConfigurationError,
  memoryStore,
} from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { describe, expect, it } from 'vitest';
import { Gate, locks, Occupancy, startApp, startHttp } from './support.js';

@Injectable()
class Quotes {
  readonly occupancy = new Occupancy();

  @DistributedLock('application:{applicationId}')
  async submit(applicationId: string): Promise<string> {
    await this.occupancy.visit();
    return applicationId;
  }

  async submitUnlocked(applicationId: string): Promise<string> {
    await this.occupancy.visit();
    return applicationId;
  }

  async submitThroughSelf(applicationId: string): Promise<string> {
    return this.submit(applicationId);
  }
}

describe('a locked method', () => {
  it('runs once at a time for one key, and passes arguments and results', async () => {
    const app = await startApp({ imports: [locks()], providers: [Quotes] });
    const quotes = app.get(Quotes);
    const { values, errors } = await raceTogether(10, () => quotes.submit('42'));
    expect(errors).toEqual([]);
    expect(values).toEqual(Array(10).fill('42'));
    expect(quotes.occupancy).toMatchObject({ highest: 1, total: 10 });
  });

  it('control: without the lock, calls overlap; and different keys do', async () => {
    const app = await startApp({ imports: [locks()], providers: [Quotes] });
    const quotes = app.get(Quotes);
    await raceTogether(10, () => quotes.submitUnlocked('42'));
    expect(quotes.occupancy.highest).toBe(10);
    quotes.occupancy.highest = 0;
    await raceTogether(10, (index) => quotes.submit(`${index}`));
    expect(quotes.occupancy.highest).toBe(10);
  });

  it('is locked when the class calls itself', async () => {
    const app = await startApp({ imports: [locks()], providers: [Quotes] });
    const quotes = app.get(Quotes);
    await raceTogether(5, () => quotes.submitThroughSelf('42'));
    expect(quotes.occupancy.highest).toBe(1);
  });

  it('leaves no trace on the instance', async () => {
    const app = await startApp({ imports: [locks()], providers: [Quotes] });
    expect(Reflect.ownKeys({ ...app.get(Quotes) })).toEqual(['occupancy']);
  });
});

describe('providers of every kind', () => {
  it('a subclass is locked; an override is not, unless it calls super', async () => {
    @Injectable()
    class Inheriting extends Quotes {}
    @Injectable()
    class Overriding extends Quotes {
      override async submit(applicationId: string): Promise<string> {
        return this.submitUnlocked(applicationId);
      }
    }
    @Injectable()
    class CallingSuper extends Quotes {
      override async submit(applicationId: string): Promise<string> {
        return super.submit(applicationId);
      }
    }
    @Injectable()
    class LockingMore extends Quotes {
      @DistributedLock('more:{id}')
      async more(id: string): Promise<unknown> {
        return this.occupancy.visit(id);
      }
    }
    const app = await startApp({
      imports: [locks()],
      providers: [Inheriting, Overriding, CallingSuper, LockingMore],
    });
    const highest = async (type: new () => Quotes) => {
      const quotes = app.get(type);
      await raceTogether(5, () => quotes.submit('42'));
      return quotes.occupancy.highest;
    };
    expect(await highest(Inheriting)).toBe(1);
    expect(await highest(Overriding)).toBe(5);
    expect(await highest(CallingSuper)).toBe(1);
    expect(await highest(LockingMore)).toBe(1);
    await raceTogether(5, () => app.get(LockingMore).more('1'));
    expect(app.get(LockingMore).occupancy.highest).toBe(1);
  });

  it('request-scoped and transient instances share the locks', async () => {
    const occupancy = new Occupancy();
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      @DistributedLock('scoped:{0}')
      async run(_id: string): Promise<unknown> {
        return occupancy.visit(this);
      }
    }
    @Injectable({ scope: Scope.TRANSIENT })
    class PerUser {
      @DistributedLock('scoped:{0}')
      async run(_id: string): Promise<unknown> {
        return occupancy.visit(this);
      }
    }
    const app = await startApp({ imports: [locks()], providers: [PerRequest, PerUser] });
    const instances = await Promise.all(
      Array.from({ length: 4 }, (_, index) =>
        app.resolve<PerRequest | PerUser>(index % 2 ? PerRequest : PerUser),
      ),
    );
    expect(new Set(instances).size).toBe(4);
    const { values, errors } = await raceTogether(4, (index) => instances[index]!.run('42'));
    expect(errors).toEqual([]);
    expect(new Set(values).size).toBe(4);
    expect(occupancy.highest).toBe(1);
  });

  it('controllers, also request-scoped ones, are locked over HTTP', async () => {
    const occupancy = new Occupancy();
    @Controller('static')
    class StaticController {
      @Get()
      @DistributedLock('http')
      async run(): Promise<unknown> {
        return occupancy.visit('static');
      }
    }
    @Controller({ path: 'scoped', scope: Scope.REQUEST })
    class ScopedController {
      @DistributedLock('http')
      @Get()
      async run(): Promise<unknown> {
        return occupancy.visit('scoped');
      }
    }
    const http = await startHttp({
      imports: [locks()],
      controllers: [StaticController, ScopedController],
    });
    const { values } = await raceTogether(8, (index) =>
      http.get(index % 2 ? '/static' : '/scoped'),
    );
    expect(values.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(occupancy).toMatchObject({ highest: 1, total: 8 });
  });

  it('instances that a factory or the user made get their locks at boot', async () => {
    const made = new Quotes();
    const app = await startApp({
      imports: [locks()],
      providers: [
        { provide: 'FACTORY', useFactory: () => new Quotes() },
        { provide: 'VALUE', useValue: made },
      ],
    });
    for (const token of ['FACTORY', 'VALUE']) {
      const quotes = app.get<Quotes>(token);
      await raceTogether(5, () => quotes.submit('42'));
      expect(quotes.occupancy).toMatchObject({ highest: 1, total: 5 });
    }
  });
});

describe('an instance without the module never runs unlocked', () => {
  it('an instance made with `new` rejects, with advice', async () => {
    const quotes = new Quotes();
    const error = await quotes.submit('42').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(String(error)).toContain('Quotes.submit is locked');
    expect(String(error)).toContain('Test.createTestingModule');
    expect(quotes.occupancy.total).toBe(0);
  });

  it('a method called without its instance rejects', async () => {
    const app = await startApp({ imports: [locks()], providers: [Quotes] });
    const { submit } = app.get(Quotes);
    await expect(Reflect.apply(submit, undefined, ['42'])).rejects.toThrow(LockConfigurationError);
  });

  it('a missing module is a boot error that says what to import', async () => {
    await expect(Test.createTestingModule({ providers: [Quotes] }).compile()).rejects.toThrow(
      /@DistributedLock needs DistributedLockModule\.forRoot\(\{ store: … \}\) in the imports of the root module/,
    );
  });

  it('a missing named module is a boot error that says its name', async () => {
    @Injectable()
    class Jobs {
      @DistributedLock({ key: 'job', use: 'jobs' })
      async run(): Promise<void> {}
    }
    await expect(
      Test.createTestingModule({ imports: [locks()], providers: [Jobs] }).compile(),
    ).rejects.toThrow(/DistributedLockModule\.forRoot\(\{ name: 'jobs', store: … \}\)/);
  });

  it('the module class imported bare is a boot error that says what to import', async () => {
    await expect(
      Test.createTestingModule({ imports: [DistributedLockModule] }).compile(),
    ).rejects.toThrow(
      /DistributedLockModule\.forRoot\(\{ store: … \}\) instead of DistributedLockModule/,
    );
  });
});

describe('two applications in one process', () => {
  it('never share locks, defaults or shutdown', async () => {
    const gate = new Gate();
    @Injectable()
    class Holder {
      inside = 0;
      @DistributedLock('shared-name')
      async hold(): Promise<void> {
        this.inside += 1;
        await gate.opened;
      }
    }
    const start = (waitTime: number) =>
      startApp({
        imports: [DistributedLockModule.forRoot({ store: memoryStore(), waitTime })],
        providers: [Holder],
      });
    const [first, second] = [await start(0), await start(60_000)];
    const running = [first.get(Holder).hold(), second.get(Holder).hold()];
    await expect(first.get(Holder).hold()).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
      waitTimeMs: 0,
    });
    expect([first.get(Holder).inside, second.get(Holder).inside]).toEqual([1, 1]);

    const waiting = second.get(Holder).hold();
    const closed = first.close();
    gate.open();
    await Promise.all([...running, closed, waiting]);
    await expect(first.get(Holder).hold()).rejects.toMatchObject({ code: 'LOCK_CLOSED' });
    expect(second.get(Holder).inside).toBe(2);
  });
});

describe('modules by name', () => {
  it('have locks of their own, chosen by `use`', async () => {
    const occupancy = { main: new Occupancy(), jobs: new Occupancy(), both: new Occupancy() };
    @Injectable()
    class Work {
      @DistributedLock('x')
      async main(): Promise<void> {
        await Promise.all([occupancy.main.visit(), occupancy.both.visit()]);
      }
      @DistributedLock('x', { use: 'jobs' })
      async jobs(): Promise<void> {
        await Promise.all([occupancy.jobs.visit(), occupancy.both.visit()]);
      }
    }
    const app = await startApp({
      imports: [locks(), DistributedLockModule.forRoot({ name: 'jobs', store: memoryStore() })],
      providers: [Work],
    });
    const work = app.get(Work);
    await raceTogether(8, (index) => (index % 2 ? work.main() : work.jobs()));
    expect(occupancy.main.highest).toBe(1);
    expect(occupancy.jobs.highest).toBe(1);
    expect(occupancy.both.highest).toBe(2);
  });
});
