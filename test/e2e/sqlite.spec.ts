import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DistributedLock, DistributedLockModule, memoryStore } from 'nestjs-distributed-lock';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { Column, DataSource, Entity, PrimaryColumn, Repository } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const CALLS = 60;
const KEYS = 6;

@Entity()
class Counter {
  @PrimaryColumn('text') id: string;
  @Column('int') value: number;
}

@Injectable()
class CounterService {
  readonly started: number[] = [];

  constructor(
    @InjectRepository(Counter) private readonly counters: Repository<Counter>,
    private readonly dataSource: DataSource,
  ) {}

  @DistributedLock('counter:{id}')
  async add(id: string, call = 0): Promise<void> {
    this.started.push(call);
    const counter = await this.counters.findOneByOrFail({ id });
    await new Promise(setImmediate); // let the others come between
    counter.value += 1;
    await this.counters.save(counter);
  }

  addInPlainTransaction(id: string): Promise<void> {
    return this.dataSource.transaction(async (manager) => {
      const counter = await manager.findOneByOrFail(Counter, { id });
      await new Promise(setImmediate);
      await manager.update(Counter, { id }, { value: counter.value + 1 });
    });
  }

  save(id: string): Promise<Counter> {
    return this.counters.save({ id, value: 0 });
  }

  async total(): Promise<number> {
    return (await this.counters.sum('value')) ?? 0;
  }
}

describe('an application on SQLite, with one connection for everybody', () => {
  let directory: string;
  let app: INestApplicationContext | undefined;

  /** @param queued `false`: TypeORM alone; transactions are opened by nobody's leave. */
  async function start(queued = true): Promise<CounterService> {
    @Module({
      imports: [
        TypeOrmModule.forRoot({
          type: 'better-sqlite3',
          database: join(directory, 'app.sqlite'),
          entities: [Counter],
          synchronize: true,
        }),
        TypeOrmModule.forFeature([Counter]),
        DistributedLockModule.forRoot({
          store: memoryStore(),
          ...(queued && { transactions: typeormTransactions() }),
        }),
      ],
      providers: [CounterService],
    })
    class AppModule {}
    app = await NestFactory.createApplicationContext(AppModule, {
      logger: false,
      abortOnError: false,
    });
    const service = app.get(CounterService);
    for (let key = 0; key < KEYS; key += 1) await service.save(`key ${key}`);
    return service;
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sqlite-app-'));
  });
  afterEach(async () => {
    await app?.close();
    app = undefined;
    rmSync(directory, { recursive: true });
  });

  const all = (call: (n: number) => Promise<unknown>) =>
    Promise.allSettled(Array.from({ length: CALLS }, (_, n) => call(n)));
  const reasons = (results: PromiseSettledResult<unknown>[]) =>
    results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));

  it('runs locked methods of several keys, plain transactions and save() at the same time: nothing fails, nothing is lost', async () => {
    const service = await start();
    const results = await all((n) => {
      const id = `key ${n % KEYS}`;
      if (n % 10 === 9) return service.save(`other ${n}`);
      return service.add(id, n);
    });
    expect(reasons(results)).toEqual([]);
    expect(await service.total()).toBe(54);
    await all((n) => service.addInPlainTransaction(`key ${n % KEYS}`));
    expect(await service.total()).toBe(54 + CALLS);
  });

  it('serves locked methods in the order of their calls', async () => {
    const service = await start();
    await all((n) => service.add(`key ${n % KEYS}`, n));
    const inOrder = [...service.started].sort((a, b) => a - b);
    // Per key the lock decides, and among the keys the connection: both first come first served.
    for (let key = 0; key < KEYS; key += 1) {
      const ofKey = service.started.filter((n) => n % KEYS === key);
      expect(ofKey).toEqual(inOrder.filter((n) => n % KEYS === key));
    }
    expect(service.started.slice(0, KEYS)).toEqual(inOrder.slice(0, KEYS));
    expect(service.started).toHaveLength(CALLS);
  });

  it('control: TypeORM alone cannot start a transaction within a transaction', async () => {
    const service = await start(false);
    const results = await all((n) => service.addInPlainTransaction(`key ${n % KEYS}`));
    expect(reasons(results).join('\n')).toContain(
      'cannot start a transaction within a transaction',
    );
    expect(await service.total()).toBeLessThan(CALLS);
  });
});
