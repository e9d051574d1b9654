/** What the lock and its fence add to a transaction of one SELECT and one UPDATE on PostgreSQL, with the lock on Redis. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
} from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { lockFenceEntity, typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { DataSource } from 'typeorm';
import { decorate } from './contenders/decorate.mjs';
import { open as openRaw } from './contenders/raw.mjs';
import { orderOf } from './harness/turns.mjs';
import { median, table, withSpread } from './statistics.mjs';

const ROUNDS = 15;
/** So many rounds are not counted: servers run for days, and until each contender has made about 2,000 calls the compiler is still at work. */
const WARM_UP_ROUNDS = 40;
const BLOCK = 50;
const KEY = 'account:1';

export const needs = ['postgres', 'redis'];

export async function run({ postgres, redis }, say) {
  // One that the library has not adopted.
  const plain = await new DataSource({ type: 'postgres', url: postgres }).initialize();
  await plain.query('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)');
  await plain.query('INSERT INTO account VALUES (1, 0)');
  const raw = await openRaw({ url: redis, leaseMs: 30_000, waitMs: 5_000 });
  const app = await lockedApp(postgres, redis);
  const payments = app.get(Payments);
  const locks = app.get(DistributedLockService);

  const transaction = () => plain.transaction(pay);
  const contenders = {
    'plain transaction': transaction,
    'raw lock + plain transaction': () => raw.locked(`bench:${KEY}`, transaction),
    'withLock + plain transaction': () => locks.withLock(KEY, transaction),
    'decorator, unfenced': () => payments.unfenced(KEY),
    'decorator, fenced': () => payments.fenced(KEY),
  };
  const times = await takeTurns(contenders);
  raw.close();
  await Promise.all([app.close(), plain.destroy()]);
  return report(times, say);
}

async function pay(manager) {
  const [{ balance }] = await manager.query('SELECT balance FROM account WHERE id = 1');
  await manager.query('UPDATE account SET balance = $1 WHERE id = 1', [balance + 1]);
}

class Payments {
  static inject = [DataSource];

  constructor(dataSource) {
    this.dataSource = dataSource;
  }

  // The adopted DataSource's manager: its queries join the transaction of the decorator.
  async unfenced(_key) {
    await pay(this.dataSource.manager);
  }

  async fenced(_key) {
    await pay(this.dataSource.manager);
  }
}
for (const fenced of [true, false]) {
  const options = { key: '{0}', transaction: { fenced } };
  decorate(Payments, fenced ? 'fenced' : 'unfenced', DistributedLock(options));
}

function lockedApp(postgres, redis) {
  class AppModule {}
  const entities = [lockFenceEntity('postgres')];
  const typeorm = { type: 'postgres', url: postgres, entities, synchronize: true };
  return NestFactory.createApplicationContext(
    {
      module: AppModule,
      providers: [
        { provide: Payments, inject: Payments.inject, useFactory: (it) => new Payments(it) },
      ],
      imports: [
        TypeOrmModule.forRoot(typeorm),
        DistributedLockModule.forRoot({
          store: redisStore({ connection: redis }),
          namespace: 'bench',
          transactions: typeormTransactions(),
        }),
      ],
    },
    { logger: ['error'] },
  );
}

/** @returns per contender, milliseconds per call in each round. */
async function takeTurns(contenders) {
  const names = Object.keys(contenders);
  const times = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round += 1) {
    for (const name of orderOf(names, round + WARM_UP_ROUNDS)) {
      const startedAt = performance.now();
      for (let n = 0; n < BLOCK; n += 1) await contenders[name]();
      if (round >= 0) times[name].push((performance.now() - startedAt) / BLOCK);
    }
  }
  return times;
}

/** @returns `{ contenders: { name: { ms, ×plain, ×locked } } }`, figures as `[median, lowest, highest]` over the rounds. */
function report(times, say) {
  const against = (name, base) => times[name].map((ms, round) => ms / times[base][round]);
  const figure = (values) => [median(values), Math.min(...values), Math.max(...values)];
  const contenders = Object.fromEntries(
    Object.keys(times).map((name) => [
      name,
      {
        ms: figure(times[name]),
        '×plain': figure(against(name, 'plain transaction')),
        '×locked': figure(against(name, 'withLock + plain transaction')),
      },
    ]),
  );
  say(
    table(
      ['transaction', 'ms', '× plain', '× withLock + plain'],
      Object.keys(times).map((name) => [
        name,
        median(times[name]).toFixed(3),
        withSpread(against(name, 'plain transaction')),
        withSpread(against(name, 'withLock + plain transaction')),
      ]),
    ),
  );
  return { 'on PostgreSQL': { contenders } };
}
