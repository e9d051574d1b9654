import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpCode,
  Injectable,
  type NestInterceptor,
  NotFoundException,
  Param,
  ParseIntPipe,
  type PipeTransform,
  Query,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { Cron, CronExpression, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { DistributedLock } from 'nestjs-distributed-lock';
import { raceTogether } from 'nestjs-distributed-lock/testing';
import { map, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { locks, Occupancy, startApp, startHttp, until } from './support.js';

class Deny implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

class AllowMarked implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return Reflect.getMetadata('role', context.getHandler()) === 'owner';
  }
}

class Shout implements PipeTransform {
  transform(value: unknown): unknown {
    return typeof value === 'string' ? value.toUpperCase() : value;
  }
}

class Wrap implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value: unknown) => ({ wrapped: value })));
  }
}

class Refused extends Error {}

@Catch(Refused)
class RefusedFilter implements ExceptionFilter {
  catch(_error: Refused, host: ArgumentsHost): void {
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { json(body: unknown): void } }>();
    response.status(418).json({ filtered: true });
  }
}

/** Drops what it does not copy: what a lock decorator does that keeps no metadata. */
function carelessWrapper(): MethodDecorator {
  return (_prototype, _name, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as (...args: unknown[]) => unknown;
    descriptor.value = function (this: unknown, ...args: unknown[]) {
      return Reflect.apply(method, this, args);
    };
  };
}

@Controller()
class Routes {
  ran = 0;

  @Get('denied-above')
  @UseGuards(Deny)
  @DistributedLock('r')
  async deniedAbove(): Promise<void> {
    this.ran += 1;
  }

  @DistributedLock('r')
  @UseGuards(Deny)
  @Get('denied-below')
  async deniedBelow(): Promise<void> {
    this.ran += 1;
  }

  @Get('denied-between')
  @DistributedLock('r')
  @UseGuards(Deny)
  async deniedBetween(): Promise<void> {
    this.ran += 1;
  }

  @Get('denied-careless')
  @carelessWrapper()
  @UseGuards(Deny)
  async careless(): Promise<string> {
    return 'a guard was bypassed';
  }

  @SetMetadata('role', 'owner')
  @UseGuards(AllowMarked)
  @DistributedLock('r')
  @Get('marked-above')
  async markedAbove(): Promise<string> {
    return 'in';
  }

  @UseGuards(AllowMarked)
  @DistributedLock('r')
  @SetMetadata('role', 'owner')
  @Get('marked-below')
  async markedBelow(): Promise<string> {
    return 'in';
  }

  @DistributedLock('item:{id}')
  @Get('items-below/:id')
  @HttpCode(202)
  async below(@Param('id', ParseIntPipe) id: number, @Query('q') q?: string): Promise<unknown> {
    return { id, type: typeof id, q };
  }

  @Get('items-above/:id')
  @HttpCode(202)
  @DistributedLock('item:{id}')
  async above(@Param('id', ParseIntPipe) id: number, @Query('q') q?: string): Promise<unknown> {
    return { id, type: typeof id, q };
  }

  @Get('piped-above/:id')
  @UsePipes(Shout)
  @UseInterceptors(Wrap)
  @DistributedLock('item:{0}')
  async pipedAbove(@Param('id') id: string): Promise<string> {
    return id;
  }

  @DistributedLock('item:{0}')
  @UsePipes(Shout)
  @UseInterceptors(Wrap)
  @Get('piped-below/:id')
  async pipedBelow(@Param('id') id: string): Promise<string> {
    return id;
  }

  @Get('missing')
  @DistributedLock('r')
  async missing(): Promise<void> {
    throw new NotFoundException('no such application');
  }

  @DistributedLock('r')
  @UseFilters(RefusedFilter)
  @Get('filtered')
  async filtered(): Promise<void> {
    throw new Refused('business');
  }

  @Get('no-key')
  @DistributedLock('item:{id}')
  async noKey(@Query('id') id: string): Promise<string> {
    this.ran += 1;
    return id;
  }
}

describe('over HTTP', () => {
  const start = () => startHttp({ imports: [locks()], controllers: [Routes] });

  it.each(['/denied-above', '/denied-below', '/denied-between'])(
    'a guard on either side of the lock denies: %s',
    async (path) => {
      const http = await start();
      expect(await http.get(path)).toMatchObject({ status: 403 });
      expect(http.app.get(Routes).ran).toBe(0);
    },
  );

  it('control: a wrapper that keeps no metadata bypasses the guard', async () => {
    const http = await start();
    expect(await http.get('/denied-careless')).toEqual({
      status: 200,
      body: 'a guard was bypassed',
    });
  });

  it.each(['/marked-above', '/marked-below'])(
    'a guard reads metadata from either side: %s',
    async (path) => {
      const http = await start();
      expect(await http.get(path)).toEqual({ status: 200, body: 'in' });
    },
  );

  it.each(['/items-above', '/items-below'])(
    'routes, status and parameter pipes work on either side: %s',
    async (path) => {
      const http = await start();
      expect(await http.get(`${path}/7?q=x`)).toEqual({
        status: 202,
        body: { id: 7, type: 'number', q: 'x' },
      });
      expect(await http.get(`${path}/seven`)).toMatchObject({ status: 400 });
    },
  );

  it.each(['/piped-above/ab', '/piped-below/ab'])(
    'pipes and interceptors work on either side: %s',
    async (path) => {
      const http = await start();
      expect(await http.get(path)).toEqual({ status: 200, body: { wrapped: 'AB' } });
    },
  );

  it('exceptions keep their class and status; filters see them', async () => {
    const http = await start();
    expect(await http.get('/missing')).toMatchObject({
      status: 404,
      body: { message: 'no such application' },
    });
    expect(await http.get('/filtered')).toEqual({ status: 418, body: { filtered: true } });
  });

  it('a call without its key part does not run', async () => {
    const http = await start();
    expect(await http.get('/no-key')).toMatchObject({ status: 500 });
    expect(http.app.get(Routes).ran).toBe(0);
    expect(await http.get('/no-key?id=1')).toEqual({ status: 200, body: '1' });
  });
});

describe('for everybody who reads functions', () => {
  it('name and arity of the method survive, and design metadata', async () => {
    expect(Routes.prototype.below.name).toBe('below');
    expect(Routes.prototype.deniedAbove).toHaveLength(0);
    expect(Routes.prototype.pipedAbove).toHaveLength(1);
    expect(Reflect.getMetadata('design:paramtypes', Routes.prototype, 'below')).toEqual([
      Number,
      String,
    ]);
  });

  it('every metadata and own property of the function survives, with symbol keys too', async () => {
    const key = Symbol('key');
    const mark: MethodDecorator = (_prototype, _name, descriptor: PropertyDescriptor) => {
      const method = descriptor.value as Record<string | symbol, unknown>;
      Reflect.defineMetadata(key, { any: 'value' }, method);
      Reflect.defineMetadata('design:custom', [String], method);
      method['visible'] = 1;
      method[key] = 2;
      Object.defineProperty(method, 'hidden', { value: 3, enumerable: false });
    };
    class Marked {
      @DistributedLock('m')
      @mark
      async run(): Promise<void> {}
    }
    const { run } = Marked.prototype;
    expect(Reflect.getMetadata(key, run)).toEqual({ any: 'value' });
    expect(Reflect.getMetadata('design:custom', run)).toEqual([String]);
    expect(['visible', key, 'hidden'].map((name) => Reflect.get(run, name))).toEqual([1, 2, 3]);
    expect(Object.keys(run)).toEqual(['visible']);
  });

  it('a Reflector reads what stands above and below', async () => {
    const above = Reflector.createDecorator<string>();
    const below = Reflector.createDecorator<string>();
    class Read {
      @above('a')
      @DistributedLock('r')
      @below('b')
      async run(): Promise<void> {}
    }
    const reflector = new Reflector();
    expect(reflector.get(above, Read.prototype.run)).toBe('a');
    expect(reflector.get(below, Read.prototype.run)).toBe('b');
  });
});

describe('outside of HTTP', () => {
  it('@Cron jobs on either side of the lock run under it', async () => {
    const occupancy = new Occupancy();
    @Injectable()
    class Jobs {
      @Cron(CronExpression.EVERY_YEAR, { name: 'above', disabled: true })
      @DistributedLock('job')
      async above(): Promise<void> {
        await occupancy.visit();
      }

      @DistributedLock('job')
      @Cron('0 0 1 1 *', { name: 'below', disabled: true })
      async below(): Promise<void> {
        await occupancy.visit();
      }
    }
    const app = await startApp({ imports: [locks(), ScheduleModule.forRoot()], providers: [Jobs] });
    const jobs = app.get(SchedulerRegistry);
    const { errors } = await raceTogether(6, (index) =>
      jobs.getCronJob(index % 2 ? 'above' : 'below').fireOnTick(),
    );
    await until(() => occupancy.total === 6, 'all jobs have run');
    expect(errors).toEqual([]);
    expect(occupancy).toMatchObject({ highest: 1, total: 6 });
  });

  it('@OnEvent handlers on either side of the lock run under it', async () => {
    const occupancy = new Occupancy();
    @Injectable()
    class Handlers {
      @OnEvent('submitted')
      @DistributedLock('event:{0.id}')
      async above(_event: { id: string }): Promise<void> {
        await occupancy.visit();
      }

      @DistributedLock('event:{0.id}')
      @OnEvent('submitted')
      async below(_event: { id: string }): Promise<void> {
        await occupancy.visit();
      }
    }
    const app = await startApp({
      imports: [locks(), EventEmitterModule.forRoot()],
      providers: [Handlers],
    });
    await raceTogether(4, () => app.get(EventEmitter2).emitAsync('submitted', { id: '42' }));
    expect(occupancy).toMatchObject({ highest: 1, total: 8 });
  });
});
