/**
 * Pays into accounts under a lock, in a process of its own, and stops in the middle until it is told to go on: long enough to be
 * frozen there.
 */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { DistributedLockModule, DistributedLockService } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { report, serve } from '../../../dist/example/demo/worker-port.js';

let app;
let locks;
let dataSource;
let open;
let gate;
let stopsBefore = false;

function close() {
  gate = new Promise((resolve) => (open = resolve));
}

class App {}
Module({})(App);

async function boot({ databaseUrl, redisUrl, namespace, leaseTime, maxHold }) {
  const imports = [
    TypeOrmModule.forRoot({
      type: 'postgres',
      url: databaseUrl,
      entities: [],
      synchronize: true,
      poolSize: 20,
    }),
    DistributedLockModule.forRoot({
      store: redisStore({ connection: redisUrl }),
      namespace,
      leaseTime,
      waitTime: '20s',
      transactions: typeormTransactions({ maxHold }),
    }),
  ];
  app = await NestFactory.createApplicationContext({ module: App, imports }, { logger: false });
  locks = app.get(DistributedLockService);
  dataSource = app.get(DataSource);
  dataSource.subscribers.push({
    beforeTransactionStart: () => (stopsBefore ? inside() : undefined),
  });
  close();
}

const key = (id) => `account:${id}`;

async function add(manager, id, amount, pause) {
  const [{ balance }] = await manager.query('SELECT balance FROM account WHERE id = $1', [id]);
  await pause?.();
  await manager.query('UPDATE account SET balance = $2 WHERE id = $1', [id, balance + amount]);
}

function inside(id) {
  report('inside', id);
  return gate;
}

serve(
  {
    boot,
    close,
    go: () => {
      stopsBefore = false;
      open();
    },
    add: ({ id, amount }) =>
      locks.withTransaction(key(id), ({ manager }) => add(manager, id, amount)),
    /** Stops after the fence. */
    payInside: ({ id, amount }) =>
      locks.withTransaction(key(id), ({ manager }) => add(manager, id, amount, () => inside(id))),
    /** Stops between the lock and the transaction. */
    payBefore: ({ id, amount }) => {
      stopsBefore = true;
      return locks.withTransaction(key(id), ({ manager }) => add(manager, id, amount));
    },
    /** What many applications do: the same lock, and a transaction that knows nothing of it. */
    payPlain: ({ id, amount }) =>
      locks.withLock(key(id), () =>
        dataSource.transaction((manager) => add(manager, id, amount, () => inside(id))),
      ),
    addPlain: ({ id, amount }) =>
      locks.withLock(key(id), () => dataSource.transaction((manager) => add(manager, id, amount))),
  },
  () => app?.close(),
);
