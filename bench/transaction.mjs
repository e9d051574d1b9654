/** What the lock and its fence add to a transaction: ratios to the same transaction without them, in one run. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  DistributedLockModule,
  DistributedLockService,
  memoryStore,
} from 'nestjs-distributed-lock';
import { lockFenceEntity, typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { DataSource } from 'typeorm';
import { median, table, withSpread } from './statistics.mjs';

const ROUNDS = 15;
const BLOCK = 100;

export const needs = ['postgres'];

export async function run({ postgres }, say) {
  class AppModule {}
  const app = await NestFactory.createApplicationContext(
    {
      module: AppModule,
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: postgres,
          entities: [lockFenceEntity('postgres')],
          synchronize: true,
        }),
        // In memory, so that only the transaction is measured.
        DistributedLockModule.forRoot({
          store: memoryStore(),
          transactions: typeormTransactions(),
        }),
      ],
    },
    { logger: ['error'] },
  );
  const dataSource = app.get(DataSource);
  const locks = app.get(DistributedLockService);
  await dataSource.query('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)');
  await dataSource.query('INSERT INTO account VALUES (1, 0)');

  const body = async (manager) => {
    const [{ balance }] = await manager.query('SELECT balance FROM account WHERE id = 1');
    await manager.query('UPDATE account SET balance = $1 WHERE id = 1', [balance + 1]);
  };
  const locked = (fenced) => () =>
    locks.withTransaction('account:1', { transaction: { fenced } }, ({ manager }) => body(manager));
  const contenders = {
    plain: () => dataSource.transaction(body),
    unfenced: locked(false),
    fenced: locked(true),
  };

  const times = await takeTurns(contenders);
  await app.close();

  const ratios = Object.fromEntries(
    Object.entries(times).map(([name, values]) => [
      name,
      values.map((ms, round) => ms / times.plain[round]),
    ]),
  );
  say(
    table(
      ['transaction', 'ms', '× plain'],
      Object.keys(times).map((name) => [
        name,
        median(times[name]).toFixed(3),
        withSpread(ratios[name]),
      ]),
    ),
  );
  return { times, ratios };
}

/** @returns per contender, milliseconds per call in each round. */
async function takeTurns(contenders) {
  const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = -1; round < ROUNDS; round += 1) {
    for (const name of rotate(Object.keys(contenders), round)) {
      const startedAt = performance.now();
      for (let n = 0; n < BLOCK; n += 1) await contenders[name]();
      if (round >= 0) times[name].push((performance.now() - startedAt) / BLOCK);
    }
  }
  return times;
}

function rotate(names, by) {
  const from = (by + names.length) % names.length;
  return [...names.slice(from), ...names.slice(0, from)];
}
