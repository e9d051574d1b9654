/** Two applications that know of each other only through Redis and PostgreSQL. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DistributedLockModule } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { lockFenceEntity, typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { DataSource } from 'typeorm';

export async function openApps(urls) {
  const first = await open(urls);
  await first.get(DataSource).query('CREATE TABLE account (id int PRIMARY KEY, balance int)');
  await first.get(DataSource).query('INSERT INTO account SELECT n, 0 FROM generate_series(0, 2) n');
  return [first, await open(urls)];
}

function open({ redis, postgres }) {
  class AppModule {}
  const entities = [lockFenceEntity('postgres')];
  return NestFactory.createApplicationContext(
    {
      module: AppModule,
      imports: [
        TypeOrmModule.forRoot({ type: 'postgres', url: postgres, entities, synchronize: true }),
        DistributedLockModule.forRoot({
          store: redisStore({ connection: redis }),
          namespace: 'soak',
          leaseTime: '2s',
          waitTime: '5s',
          transactions: typeormTransactions(),
        }),
      ],
    },
    { logger: ['error'] },
  );
}
