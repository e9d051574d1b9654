import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DistributedLock, DistributedLockModule } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import {
  typeormTransactions,
  type TypeOrmTransactionsOptions,
} from 'nestjs-distributed-lock/typeorm';
import { Column, DataSource, Entity, PrimaryColumn, Repository } from 'typeorm';

@Entity()
export class Counter {
  @PrimaryColumn('text') id: string;
  @Column('int') value: number;
}

/** Reads, adds one, writes: loses an update whenever two do it at once. */
@Injectable()
export class CounterService {
  constructor(
    @InjectRepository(Counter) private readonly counters: Repository<Counter>,
    private readonly dataSource: DataSource,
  ) {}

  @DistributedLock('counter:{id}')
  async add(id: string): Promise<number> {
    return this.addUnlocked(id);
  }

  async addUnlocked(id: string): Promise<number> {
    const counter = await this.counters.findOneByOrFail({ id });
    counter.value += 1;
    await this.counters.save(counter);
    return counter.value;
  }

  /** The incident: the lock is taken and freed inside a transaction that somebody opened around it. */
  addInsideTransaction(id: string): Promise<number> {
    return this.dataSource.transaction(() => this.add(id));
  }
}

export interface CounterAppOptions {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly poolSize?: number;
  readonly transactions?: TypeOrmTransactionsOptions;
}

/** One server. */
export async function counterApp(options: CounterAppOptions): Promise<INestApplicationContext> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: 'postgres',
        url: options.databaseUrl,
        entities: [Counter],
        poolSize: options.poolSize ?? 30,
      }),
      TypeOrmModule.forFeature([Counter]),
      DistributedLockModule.forRoot({
        store: redisStore({ connection: options.redisUrl }),
        // One per database: specs run side by side on one Redis.
        namespace: new URL(options.databaseUrl).pathname.slice(1),
        waitTime: '30s',
        transactions: typeormTransactions(options.transactions),
      }),
    ],
    providers: [CounterService],
  })
  class AppModule {}
  return NestFactory.createApplicationContext(AppModule, {
    logger: ['error'],
    abortOnError: false,
  });
}
