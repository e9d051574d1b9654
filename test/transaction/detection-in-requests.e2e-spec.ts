import { setImmediate } from 'node:timers/promises';
import type {
  CallHandler,
  ExecutionContext,
  INestApplication,
  NestInterceptor,
} from '@nestjs/common';
import { Controller, Get, Inject, Injectable, UseInterceptors } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  catchError,
  concatMap,
  finalize,
  from,
  lastValueFrom,
  switchMap,
  type Observable,
} from 'rxjs';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import type { TypeOrmTransactionRunner } from '../../src/distributed-lock/transaction/typeorm/index.js';
import { describeWith } from '../support/with-services.js';
import { SpecDatabase } from './database.js';

/** The recipe with a query runner. */
@Injectable()
class QueryRunnerInterceptor implements NestInterceptor {
  constructor(private readonly dataSource: DataSource) {}

  async intercept(_context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const runner = this.dataSource.createQueryRunner();
    await runner.connect();
    await runner.startTransaction();
    return next.handle().pipe(
      concatMap(async (body: unknown) => {
        await runner.commitTransaction();
        return body;
      }),
      catchError(async (error: unknown) => {
        await runner.rollbackTransaction();
        throw error;
      }),
      finalize(() => void runner.release()),
    );
  }
}

/** The recipe with a callback. */
@Injectable()
class CallbackInterceptor implements NestInterceptor {
  constructor(private readonly dataSource: DataSource) {}

  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return from(this.dataSource.transaction(() => lastValueFrom(next.handle()))).pipe(
      switchMap((body) => [body]),
    );
  }
}

const TRANSACTIONS = 'transactions of the spec';

@Controller()
class ProbeController {
  constructor(@Inject(TRANSACTIONS) private readonly transactions: TypeOrmTransactionRunner) {}

  @Get('plain')
  plain(): Promise<boolean> {
    return this.#probe();
  }

  @Get('runner')
  @UseInterceptors(QueryRunnerInterceptor)
  inRunner(): Promise<boolean> {
    return this.#probe();
  }

  @Get('callback')
  @UseInterceptors(CallbackInterceptor)
  inCallback(): Promise<boolean> {
    return this.#probe();
  }

  /** Looks twice, with other requests in between. Needs no connection: with more requests than connections that would deadlock. */
  async #probe(): Promise<boolean> {
    const before = this.transactions.openTransaction() !== undefined;
    await setImmediate();
    const after = this.transactions.openTransaction() !== undefined;
    if (before !== after) throw new Error(`before: ${before}, after: ${after}`);
    return after;
  }
}

describeWith('postgres')('an open transaction around a request', () => {
  let database: SpecDatabase;
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    database = await SpecDatabase.create('detection_in_requests');
    const transactions = typeormTransactions();
    const module = await Test.createTestingModule({
      imports: [TypeOrmModule.forRoot(database.options({ poolSize: 20 }))],
      controllers: [ProbeController],
      providers: [
        QueryRunnerInterceptor,
        CallbackInterceptor,
        { provide: TRANSACTIONS, useValue: transactions },
      ],
    }).compile();
    app = module.createNestApplication();
    transactions.adopt([app.get(DataSource)]);
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });
  afterAll(async () => {
    await app.close();
    await database.close();
  });

  const seen = async (path: string): Promise<string> => (await fetch(`${url}/${path}`)).text();

  it.each([
    ['plain', 'false'],
    ['runner', 'true'],
    ['callback', 'true'],
  ])('%s: %s', async (path, expected) => {
    expect(await seen(path)).toBe(expected);
    expect(await seen('plain')).toBe('false'); // on the same connection afterwards
  });

  it('is told apart in 90 concurrent requests of all kinds', async () => {
    const paths = Array.from({ length: 90 }, (_, i) => ['plain', 'runner', 'callback'][i % 3]!);
    const answers = await Promise.all(paths.map(seen));
    expect(answers).toEqual(paths.map((path) => String(path !== 'plain')));
    await database.expectNothingLeft();
  });
});
