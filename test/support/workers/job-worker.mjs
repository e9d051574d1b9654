/**
 * A Nest application with scheduled jobs, in a process of its own, on a clock of its own: `SKEWS` says, per worker, by how many milliseconds.
 *
 * Reports every run with the tick that its own clock reads, and how long holds are held.
 */
import 'reflect-metadata';

const skewMs = Number(process.env.SKEWS?.split(',')[Number(process.env.WORKER)] ?? 0);
const RealDate = globalThis.Date;
// Before anything that may keep a reference to it: schedules are read from this clock.
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length === 0 ? [RealDate.now() + skewMs] : given));
  }
  static now() {
    return RealDate.now() + skewMs;
  }
};

const { Module } = await import('@nestjs/common');
const { NestFactory } = await import('@nestjs/core');
const { Cron, Interval, ScheduleModule } = await import('@nestjs/schedule');
const { assertLocked, currentHold, DistributedLock, DistributedLockModule } =
  await import('nestjs-distributed-lock');
const { redisStore } = await import('nestjs-distributed-lock/redis');
const { report, serve } = await import('../../../dist/example/demo/worker-port.js');

process.on('unhandledRejection', (error) => report('unhandledRejection', String(error)));

const once = { waitTime: 0, onTimeout: 'skip', transaction: false };
const ran = (job) => report(job, { tick: Math.round(Date.now() / 1_000) });

class CronJobs {
  async locked() {
    assertLocked('locked');
    ran('locked');
  }

  /** Control: the lock is free again before the servers whose clocks are behind come. */
  async unkept() {
    assertLocked('unkept');
    ran('unkept');
  }

  /** Control: no lock. */
  async unlocked() {
    ran('unlocked');
  }
}

class IntervalJobs {
  async interval() {
    assertLocked('interval');
    ran('interval');
  }
}

/** Jobs that do not end by themselves, but with their hold. */
class LongJobs {
  async killed() {
    await untilLost('killed');
  }

  async stuck() {
    await untilLost('stuck');
  }
}

async function untilLost(job) {
  const { lost } = currentHold();
  report(job, { phase: 'started' });
  await new Promise((resolve) => lost.addEventListener('abort', resolve));
  report(job, { phase: 'ended', reason: lost.reason.reason });
}

decorate(CronJobs, 'locked', [
  Cron('* * * * * *'),
  DistributedLock('locked', { ...once, holdAtLeast: '750ms', holdAtMost: '5s' }),
]);
decorate(CronJobs, 'unkept', [Cron('* * * * * *'), DistributedLock('unkept', once)]);
decorate(CronJobs, 'unlocked', [Cron('* * * * * *')]);
decorate(IntervalJobs, 'interval', [
  Interval(1_000),
  DistributedLock({ key: 'interval', ...once, holdAtLeast: '900ms' }),
]);
decorate(LongJobs, 'killed', [
  Interval(50),
  DistributedLock('killed', { ...once, leaseTime: '500ms', holdAtMost: '30s' }),
]);
decorate(LongJobs, 'stuck', [
  Interval(50),
  DistributedLock('stuck', { ...once, leaseTime: '500ms', holdAtMost: '700ms' }),
]);

let app;

async function boot({ redisUrl, namespace }) {
  const locks = DistributedLockModule.forRoot({
    store: redisStore({ connection: redisUrl }),
    namespace,
  });
  class AppModule {}
  const imports = [ScheduleModule.forRoot(), locks];
  Module({ imports, providers: [CronJobs, IntervalJobs, LongJobs] })(AppModule);
  app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['error'],
    abortOnError: false,
  });
}

/** What the compiler makes of decorators above a method: the last one is applied first. */
function decorate({ prototype }, name, decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
  for (const decorator of decorators.toReversed()) decorator(prototype, name, descriptor);
  Object.defineProperty(prototype, name, descriptor);
}

const close = async () => app?.close();

serve({ boot, close }, close);
