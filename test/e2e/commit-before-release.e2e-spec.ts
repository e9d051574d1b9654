import type { INestApplicationContext } from '@nestjs/common';
import { DistributedLockService } from 'nestjs-distributed-lock';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { describeWith, redisUrl } from '../support/with-services.js';
import { counterApp, CounterService } from './counter-app.js';
import { type CounterDatabase, counterDatabase } from './counter-database.js';

const CALLS = 30;

describeWith('redis', 'postgres')('with a COMMIT that takes 20 ms', () => {
  let database: CounterDatabase;
  let servers: INestApplicationContext[];
  const services = () => servers.map((app) => app.get(CounterService));

  beforeAll(async () => {
    database = await counterDatabase('commit_before_release', 20);
    // A pool smaller than the number of callers: those that wait for the lock must not hold a connection.
    const options = { databaseUrl: database.url, redisUrl: redisUrl(), poolSize: 5 };
    servers = await Promise.all([counterApp(options), counterApp(options)]);
  });

  afterAll(async () => {
    await Promise.all(servers.map((app) => app.close()));
    await database.drop();
  });

  const poolOf = (app: INestApplicationContext) =>
    (
      app.get(DataSource).driver as unknown as {
        master: { totalCount: number; idleCount: number; waitingCount: number };
      }
    ).master;

  it('the next holder always reads what the last one wrote', async () => {
    const id = await database.counter('locked');
    const values = await Promise.all(
      Array.from({ length: CALLS }, (_, n) => services()[n % 2]!.add(id)),
    );
    // Each call returned the value it had read, plus one: all different, so nobody read what another one had read.
    expect(values.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: CALLS }, (_, n) => n + 1),
    );
    expect(await database.value(id)).toBe(CALLS);
  });

  it('control: released before the COMMIT, the next holder reads old values', async () => {
    const id = await database.counter('released_too_early');
    const addReleasingEarly = async (app: INestApplicationContext): Promise<number> => {
      const hold = await app.get(DistributedLockService).acquire(`counter:${id}`);
      return app.get(DataSource).transaction(async (manager) => {
        const [{ value }] = await manager.query<[{ value: number }]>(
          'SELECT value FROM counter WHERE id = $1',
          [id],
        );
        await manager.query('UPDATE counter SET value = $2 WHERE id = $1', [id, value + 1]);
        await hold.release();
        return value + 1;
      });
    };
    const values = await Promise.all(
      Array.from({ length: CALLS }, (_, n) => addReleasingEarly(servers[n % 2]!)),
    );
    expect(new Set(values).size).toBeLessThan(CALLS);
  });

  it('callers that wait for the lock hold no connection', async () => {
    const id = await database.counter('busy');
    const holder = await servers[0]!.get(DistributedLockService).acquire(`counter:${id}`);
    const waiting = Array.from({ length: 20 }, () => services()[0]!.add(id));
    const pool = poolOf(servers[0]!);
    // Twenty callers are past their key and wait for the lock; another query still gets a connection at once.
    await servers[0]!.get(DataSource).query('SELECT 1');
    expect(pool.totalCount - pool.idleCount).toBe(0);
    expect(pool.waitingCount).toBe(0);
    await holder.release();
    await Promise.all(waiting);
    expect(await database.value(id)).toBe(20);
  });

  it('control: with the transaction outside of the lock, they hold the whole pool', async () => {
    const locks = servers[0]!.get(DistributedLockService);
    const holder = await locks.acquire('exhausted');
    const waiting = Array.from({ length: 20 }, () =>
      servers[0]!.get(DataSource).transaction(async () => {
        const hold = await locks.outsideTransaction(() => locks.acquire('exhausted'));
        await hold.release();
      }),
    );
    const pool = poolOf(servers[0]!);
    await until('nobody else gets a connection', () => pool.waitingCount === 15);
    expect(pool.totalCount - pool.idleCount).toBe(5);
    await holder.release();
    await Promise.all(waiting);
  });
});
