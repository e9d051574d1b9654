import { Controller, Get, Injectable, Param, Res } from '@nestjs/common';
import type { Response } from 'express';
import { get } from 'node:http';
import {
  currentHold,
  DistributedLock,
  DistributedLockService,
  LockConfigurationError,
  LockKeyError,
  LockQueueFullError,
  type TimeoutContext,
} from 'nestjs-distributed-lock';
import { describe, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';
import { redisLocks } from './redis-locks.js';
import { Gate, NotedTransactions, startApp, startHttp } from './support.js';

/** Says when the client of a request has gone away before it was answered. */
function clientGone(response: Response): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('the client went away'));
  });
  return gone.signal;
}

describeWith('redis')('signal', () => {
  @Injectable()
  class Jobs {
    ran = 0;
    readonly stop = new AbortController();

    @DistributedLock('job', { signal: (signal?: AbortSignal) => signal })
    async run(_signal?: AbortSignal): Promise<string> {
      this.ran += 1;
      return 'done';
    }

    @DistributedLock({
      key: (id: string) => `job:${id}`,
      signal(this: Jobs) {
        return this.stop.signal;
      },
    })
    async ofInstance(_id: string): Promise<void> {
      this.ran += 1;
    }

    @DistributedLock('job', {
      signal: () => {
        throw new TypeError('no signal');
      },
    })
    async throwing(): Promise<void> {
      this.ran += 1;
    }

    @DistributedLock('job', { signal: () => 'stop' as never })
    async wrong(): Promise<void> {
      this.ran += 1;
    }
  }

  it('of the caller ends the wait of a decorated method with its reason; later callers are served', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Jobs] });
    const [jobs, locks] = [app.get(Jobs), app.get(DistributedLockService)];
    const held = await locks.acquire('job');
    const [abort, reason] = [new AbortController(), new Error('not needed any more')];
    const waiting = jobs.run(abort.signal);
    const later = jobs.run();
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await held.release();
    expect(await later).toBe('done');
    expect(jobs.ran).toBe(1);
    expect(await jobs.run(new AbortController().signal), 'one that does not fire').toBe('done');
  });

  it('may come from the instance; once the lock is held it has no effect', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Jobs] });
    const [jobs, locks] = [app.get(Jobs), app.get(DistributedLockService)];
    await jobs.ofInstance('1');
    const held = await locks.acquire('job:1');
    const waiting = jobs.ofInstance('1');
    jobs.stop.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
    expect(held.isHeld()).toBe(true);
    expect(jobs.ran).toBe(1);
  });

  it('that throws, or is none, keeps the method from running', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Jobs] });
    const jobs = app.get(Jobs);
    await expect(jobs.throwing()).rejects.toThrow(new TypeError('no signal'));
    await expect(jobs.wrong()).rejects.toThrow(
      'Option "Jobs.wrong: signal" returned "stop"; allowed: an AbortSignal, undefined. The method did not run.',
    );
    expect(jobs.ran).toBe(0);
    expect(() => {
      class Bad {
        @DistributedLock('a', { signal: new AbortController().signal as never })
        async run(): Promise<void> {}
      }
      return Bad;
    }).toThrow('Option "Bad.run: signal" is {}; allowed: a function of the arguments');
  });

  it('of an HTTP request: a client that goes away stops waiting; control: without it, it waits on', async () => {
    @Controller()
    class Quotes {
      readonly ran: string[] = [];

      @Get('heeding/:id')
      @DistributedLock('quote:{0}', {
        waitTime: '20s',
        signal: (_id: string, response: Response) => clientGone(response),
      })
      async heeding(@Param('id') id: string, @Res({ passthrough: true }) _response: Response) {
        this.ran.push(`heeding ${id}`);
        return 'submitted';
      }

      @Get('deaf/:id')
      @DistributedLock('quote:{0}', { waitTime: '20s' })
      async deaf(@Param('id') id: string) {
        this.ran.push(`deaf ${id}`);
        return 'submitted';
      }
    }
    const http = await startHttp({ imports: [redisLocks()], controllers: [Quotes] });
    const locks = http.app.get(DistributedLockService);
    const seen: string[] = [];
    locks.events.on(({ type }) => seen.push(type));
    const held = await locks.acquire('quote:1');
    const url = await http.app.getUrl();

    const leave = (path: string) => get(new URL(path, url)).on('error', () => undefined);
    const requests = [leave('/heeding/1'), leave('/deaf/1')];
    const attempts = () => seen.filter((type) => type === 'attempted').length;
    await until('both requests to wait', () => attempts() === 3);
    for (const request of requests) request.destroy();
    await until('the one that heeds it to stop waiting', () => seen.includes('failed'));
    await held.release();
    await until('the other one to run', () => http.app.get(Quotes).ran.length > 0);
    expect((await http.get('/heeding/1')).body).toBe('submitted');
    expect(http.app.get(Quotes).ran).toEqual(['deaf 1', 'heeding 1']);
    expect(seen.filter((type) => type === 'failed')).toHaveLength(1);
  });
});

describeWith('redis')('maxWaiters', () => {
  @Injectable()
  class Hot {
    ran = 0;
    told: TimeoutContext | null = null;
    readonly gate = new Gate();

    @DistributedLock('hot', { maxWaiters: 2, waitTime: '20s' })
    async run(): Promise<string> {
      this.ran += 1;
      await this.gate.opened;
      return 'done';
    }

    @DistributedLock('hot', { maxWaiters: 2, onTimeout: 'skip' })
    async orSkip(): Promise<string | undefined> {
      return 'done';
    }

    @DistributedLock('hot', { maxWaiters: 2, onTimeout: ({ error }) => error.code })
    async orCode(): Promise<string> {
      return 'done';
    }
  }

  it('lets so many wait behind the first call, and refuses one more at once, with the three answers', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Hot] });
    const [hot, locks] = [app.get(Hot), app.get(DistributedLockService)];
    const calls = Array.from({ length: 10 }, () => hot.run());
    const full = calls.slice(3).map(async (call) => {
      const error = await call.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(LockQueueFullError);
      expect(error).toMatchObject({
        code: 'LOCK_QUEUE_FULL',
        key: 'hot',
        maxWaiters: 2,
        methodRan: false,
        committed: false,
        retryable: true,
      });
    });
    await Promise.all(full); // nobody has been inside for long: the gate is closed
    expect(await hot.orSkip()).toBeUndefined();
    expect(await hot.orCode()).toBe('LOCK_QUEUE_FULL');
    await expect(
      locks.withLock('hot', { maxWaiters: 1 }, async () => undefined),
      'a shorter queue of its own',
    ).rejects.toBeInstanceOf(LockQueueFullError);
    expect(await locks.tryAcquire('hot', { maxWaiters: 1 }), 'a try never waits').toBeNull();
    hot.gate.open();
    expect(await Promise.all(calls.slice(0, 3))).toEqual(['done', 'done', 'done']);
    expect(hot.ran).toBe(3);
    expect(await hot.run(), 'the queue is empty again').toBe('done');
  });

  it('control: without the limit all of them wait and run', async () => {
    const app = await startApp({ imports: [redisLocks()] });
    const locks = app.get(DistributedLockService);
    const runs = Array.from({ length: 10 }, () => locks.withLock('hot', async () => 'done'));
    expect(await Promise.all(runs)).toEqual(Array.from({ length: 10 }, () => 'done'));
  });

  it('counts calls of this process per key, and forgets those that gave up', async () => {
    const module = redisLocks({ maxWaiters: 1 });
    const [here, there] = await Promise.all(
      [0, 1].map(async () => (await startApp({ imports: [module] })).get(DistributedLockService)),
    );
    const held = await here!.acquire('a');
    for (let round = 0; round < 3; round += 1) {
      const abort = new AbortController();
      const waiting = here!.acquire('a', { signal: abort.signal });
      await expect(here!.acquire('a')).rejects.toBeInstanceOf(LockQueueFullError);
      abort.abort(new Error('gave up'));
      await expect(waiting).rejects.toThrow('gave up');
    }
    const other = await here!.acquire('b');
    // Over there nobody has the key: one call asks, and one waits behind it.
    const [asking, behind] = [there!.acquire('a'), there!.acquire('a')];
    await expect(there!.acquire('a')).rejects.toBeInstanceOf(LockQueueFullError);
    await held.release();
    await (await asking).release();
    await (await behind).release();
    await other.release();
    await (await here!.acquire('a')).release();
  });

  it.each([0, 1.5, '3', -1])('refuses %j at boot', async (maxWaiters) => {
    await expect(
      startApp({ imports: [redisLocks({ maxWaiters: maxWaiters as number })] }),
    ).rejects.toThrow(
      `Option "maxWaiters" is ${JSON.stringify(maxWaiters)}; allowed: a whole number from 1.`,
    );
  });
});

describeWith('redis')('when', () => {
  @Injectable()
  class Payments {
    readonly seen: (string | null)[] = [];
    readonly limit = 100;

    @DistributedLock({
      key: (id: string) => `payment:${id}`,
      when(this: Payments, _id: string, amount: number) {
        return amount >= this.limit;
      },
    })
    async pay(_id: string, _amount: number): Promise<void> {
      this.seen.push(currentHold()?.key ?? null);
    }

    @DistributedLock('payment:{0}', { when: (id?: string) => id !== undefined })
    async keyless(_id?: string): Promise<void> {
      this.seen.push(currentHold()?.key ?? null);
    }

    @DistributedLock('payment', { when: (async () => false) as never })
    async asynchronous(): Promise<void> {
      this.seen.push('ran');
    }
  }

  it('false runs the method without the lock, in its transaction; true runs it under the lock', async () => {
    const transactions = new NotedTransactions();
    const app = await startApp({ imports: [redisLocks({ transactions })], providers: [Payments] });
    const [payments, locks] = [app.get(Payments), app.get(DistributedLockService)];
    const held = await locks.acquire('payment:1');
    await payments.pay('1', 99);
    expect(payments.seen).toEqual([null]);
    expect(transactions.notes).toEqual(['START default', 'COMMIT']);
    const waiting = payments.pay('1', 100);
    await held.release();
    await waiting;
    expect(payments.seen).toEqual([null, 'payment:1']);
  });

  it('is read before the key: a call that needs no lock needs no key', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Payments] });
    const payments = app.get(Payments);
    await payments.keyless();
    await payments.keyless('7');
    expect(payments.seen).toEqual([null, 'payment:7']);
    await expect(payments.keyless('')).rejects.toBeInstanceOf(LockKeyError);
  });

  it('must say true or false: a promise never decides by being truthy', async () => {
    const app = await startApp({ imports: [redisLocks()], providers: [Payments] });
    const refused = app.get(Payments).asynchronous();
    await expect(refused).rejects.toBeInstanceOf(LockConfigurationError);
    await expect(refused).rejects.toThrow(/"Payments.asynchronous: when" returned .*allowed: true/);
    expect(app.get(Payments).seen).toEqual([]);
  });
});

describe('two decorators on one method', () => {
  it('are refused when the class is defined, with the way that works', () => {
    expect(() => {
      class Twice {
        @DistributedLock('a')
        @DistributedLock('b')
        async run(): Promise<void> {}
      }
      return Twice;
    }).toThrow('return several keys from one "key" instead');
  });
});
