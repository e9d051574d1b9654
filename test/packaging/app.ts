// A user's application, compiled twice from the packed package: as ES modules with Nest 12, as CommonJS with Nest 11.
// Prints as JSON what its two modules did.
import 'reflect-metadata';
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getDataSourceToken, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { ClsModule } from 'nestjs-cls';
import {
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
} from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import {
  nestjsCls,
  type TransactionMode,
  typeormTransactions,
} from 'nestjs-distributed-lock/typeorm';
import { Column, type EntityManager, Entity, PrimaryColumn, Repository } from 'typeorm';

const CALLS = 20;

@Entity()
class Counter {
  @PrimaryColumn('text') id: string;
  @Column('int') value: number;
}

async function add(manager: EntityManager, id: string): Promise<void> {
  const counter = await manager.findOneByOrFail(Counter, { id });
  await manager.update(Counter, { id }, { value: counter.value + 1 });
}

@Injectable()
class NativeCounter {
  constructor(@InjectRepository(Counter) private readonly counters: Repository<Counter>) {}

  @DistributedLock('counter:{id}')
  async add(id: string): Promise<void> {
    await add(this.counters.manager, id);
  }
}

@Injectable()
class ClsCounter {
  constructor(private readonly txHost: TransactionHost<TransactionalAdapterTypeOrm>) {}

  @DistributedLock('counter:{0}')
  @Transactional()
  async add(id: string): Promise<void> {
    await add(this.txHost.tx, id);
  }
}

const cls = () =>
  ClsModule.forRoot({
    plugins: [
      new ClsPluginTransactional({
        adapter: new TransactionalAdapterTypeOrm({
          dataSourceToken: getDataSourceToken() as string,
        }),
      }),
    ],
  });

/** @returns what the counter says after {@link CALLS} calls at a time, and what happened to the locks. */
async function count(
  id: string,
  Service: typeof NativeCounter | typeof ClsCounter,
  mode?: TransactionMode,
): Promise<{ value: number; events: Record<string, number> }> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: 'postgres',
        url: process.env['DATABASE_URL']!,
        entities: [Counter],
        synchronize: true,
      }),
      TypeOrmModule.forFeature([Counter]),
      ...(mode ? [cls()] : []),
      DistributedLockModule.forRoot({
        store: redisStore({ connection: process.env['REDIS_URL']! }),
        namespace: process.env['NAMESPACE']!,
        transactions: typeormTransactions({ ...(mode && { mode }) }),
      }),
    ],
    providers: [Service],
  })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['error', 'warn'],
    abortOnError: false,
  });
  try {
    const events: Record<string, number> = {};
    app.get(DistributedLockService).events.on(({ type }) => {
      events[type] = (events[type] ?? 0) + 1;
    });
    const counters = app.get(getDataSourceToken()).getRepository(Counter);
    await counters.save({ id, value: 0 });
    const service = app.get<NativeCounter | ClsCounter>(Service);
    await Promise.all(Array.from({ length: CALLS }, () => service.add(id)));
    const { value } = await counters.findOneByOrFail({ id });
    return { value, events };
  } finally {
    await app.close();
  }
}

async function main(): Promise<void> {
  const native = await count('native', NativeCounter);
  const throughCls = await count('cls', ClsCounter, nestjsCls({ TransactionHost }));
  process.stdout.write(JSON.stringify({ native, cls: throughCls }));
}

void main();
