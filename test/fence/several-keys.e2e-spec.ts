import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  DistributedLock,
  DistributedLockModule,
  DistributedLockService,
} from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { StatementLog } from '../transaction/database.js';
import { rejection } from '../transaction/spec-hold.js';
import { describeWith, redisUrl } from '../support/with-services.js';
import { FenceWorld } from './fence-world.js';

const account = (id: number) => `account:${id}`;

describeWith('redis', 'postgres')('several keys, on two servers', () => {
  let world: FenceWorld;
  const servers: { app: INestApplicationContext; log: StatementLog; transfers: Transfers }[] = [];

  @Injectable()
  class Transfers {
    constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

    /** Reads both, writes both: loses money whenever somebody else comes between. */
    async move(from: number, to: number, amount: number): Promise<void> {
      const { manager } = this.dataSource;
      const [a, b] = [await world.read(manager, from), await world.read(manager, to)];
      await world.write(manager, a - amount, from);
      await world.write(manager, b + amount, to);
    }

    @DistributedLock((from: number, to: number) => [account(from), account(to)])
    async transfer(from: number, to: number, amount: number): Promise<void> {
      await this.move(from, to, amount);
    }

    @DistributedLock((id: number) => account(id))
    async add(id: number, amount: number): Promise<void> {
      await world.add(this.dataSource.manager, amount, id);
    }

    @DistributedLock((from: number) => account(from))
    async addInside(from: number, to: number): Promise<void> {
      await this.add(from, -1);
      await this.add(to, 1);
    }
  }

  beforeAll(async () => {
    world = await FenceWorld.open('postgres');
    for (let n = 0; n < 2; n += 1) {
      const log = new StatementLog();
      class Server {}
      Module({
        imports: [
          TypeOrmModule.forRoot({
            type: 'postgres',
            url: world.url,
            entities: [],
            synchronize: true,
            poolSize: 10,
            logger: log,
          }),
          DistributedLockModule.forRoot({
            store: redisStore({ connection: redisUrl() }),
            namespace: world.account,
            waitTime: '20s',
            transactions: typeormTransactions({ fence: { table: world.fences } }),
          }),
        ],
        providers: [Transfers],
      })(Server);
      const app = await NestFactory.createApplicationContext(Server, {
        logger: false,
        abortOnError: false,
      });
      servers.push({ app, log, transfers: app.get(Transfers) });
    }
  });
  afterAll(async () => {
    for (const { app } of servers) await app.close();
    await world?.close();
  });
  afterEach(() => world.reset());

  const both = async () => [await world.balance(1), await world.balance(2)];
  const crosswise = (transfer: (transfers: Transfers, n: number) => Promise<void>) =>
    Promise.allSettled(
      Array.from({ length: 60 }, (_, n) => transfer(servers[n % 2]!.transfers, n)),
    );
  const there = (n: number) => Math.floor(n / 2) % 2 === 0;

  it('60 transfers in both directions at a time: no deadlock, no lost update', async () => {
    const results = await crosswise((transfers, n) =>
      there(n) ? transfers.transfer(1, 2, 3) : transfers.transfer(2, 1, 1),
    );
    expect(results.filter(({ status }) => status === 'rejected')).toEqual([]);
    expect(await both()).toEqual([100 - 30 * 3 + 30, 100 + 30 * 3 - 30]);
  });

  it('control: without the lock, updates are lost', async () => {
    await crosswise((transfers, n) =>
      there(n) ? transfers.move(1, 2, 3) : transfers.move(2, 1, 1),
    );
    expect(await both()).not.toEqual([40, 160]);
  });

  it('control: one lock inside the other, in opposite orders, wait for each other until they give up', async () => {
    let inside = 0;
    let bothIn!: () => void;
    const met = new Promise<void>((resolve) => {
      bothIn = resolve;
    });
    const nested = (n: number, outer: number, inner: number) => {
      const locks = servers[n]!.app.get(DistributedLockService);
      return locks.withLock(account(outer), async () => {
        inside += 1;
        if (inside === 2) bothIn();
        await met;
        await locks.withLock(account(inner), { waitTime: 300 }, async () => undefined);
      });
    };
    const results = await Promise.allSettled([nested(0, 1, 2), nested(1, 2, 1)]);
    const reasons = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as { code: string }] : [],
    );
    expect(new Set(reasons.map(({ code }) => code))).toEqual(new Set(['LOCK_WAIT_TIMEOUT']));
  });

  it('pass in one statement, with a row each', async () => {
    const { log, transfers } = servers[0]!;
    log.statements.length = 0;
    await transfers.transfer(2, 1, 1);
    expect(log.statements.filter((each) => each.includes(world.fences))).toHaveLength(1);
    const rows = await world.query<{ lock_key: string }>(
      `SELECT lock_key FROM ${world.fences} ORDER BY lock_key`,
    );
    expect(rows.map(({ lock_key: key }) => key)).toEqual([
      `redis/${world.account}:account:1`,
      `redis/${world.account}:account:2`,
    ]);
  });

  it('a newer holder of one of them evicts the holder of all', async () => {
    const { transfers } = servers[0]!;
    await transfers.transfer(1, 2, 1);
    await world.query(
      `UPDATE ${world.fences} SET token = 9223372036854775807 WHERE lock_key LIKE '%account:2'`,
    );
    const error = await rejection(transfers.transfer(1, 2, 1));
    expect(error).toMatchObject({ committed: false, seenToken: 9223372036854775807n });
    expect(await both()).toEqual([99, 101]);
    await transfers.add(1, 1); // the other key is not concerned
    expect(await both()).toEqual([100, 101]);
  });

  it('another key inside a locked transaction is refused, with advice; nothing is written', async () => {
    const { transfers } = servers[0]!;
    const error = await rejection(transfers.addInside(1, 2));
    expect(error).toMatchObject({
      code: 'LOCK_INSIDE_TRANSACTION',
      key: account(2),
      message: expect.stringContaining('to hold several keys, return them all from one `key`'),
    });
    expect(await both()).toEqual([100, 100]);
  });

  it('control: the same key inside is the same lock', async () => {
    await servers[0]!.transfers.addInside(1, 1);
    expect(await both()).toEqual([100, 100]);
  });
});
