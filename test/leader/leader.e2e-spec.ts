import { randomUUID } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import { Logger } from '@nestjs/common';
import {
  currentHold,
  DistributedLockModule,
  DistributedLockService,
  type Hold,
  LockConfigurationError,
  type LockEvent,
  LockKeyError,
  type LockStore,
  memoryStore,
} from 'nestjs-distributed-lock';
import { mysqlStore } from 'nestjs-distributed-lock/mysql';
import { postgresStore } from 'nestjs-distributed-lock/postgres';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { redlockStore } from 'nestjs-distributed-lock/redlock';
import { tableStore } from 'nestjs-distributed-lock/table';
import { zookeeperStore } from 'nestjs-distributed-lock/zookeeper';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { OpenDoorStore } from '../../src/example/demo/open-door.store.js';
import { OutboxRelay } from '../../src/example/jobs/outbox.relay.js';
import { Gate, startApp } from '../nest/support.js';
import {
  createDatabase,
  type OwnDatabase,
  type OwnRedis,
  startRedis,
} from '../support/services.js';
import { until } from '../support/until.js';
import { describeWith } from '../support/with-services.js';
import { Reign } from './reign.js';

const silent = () => {
  const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  onTestFinished(() => warn.mockRestore());
};

async function server(store: LockStore, namespace: string): Promise<INestApplication> {
  return startApp({
    imports: [DistributedLockModule.forRoot({ store, namespace, leaseTime: '2s' })],
  });
}

/** What every store must do. `servers` makes applications that share their locks. */
async function electsOneAtATime(servers: readonly INestApplication[]): Promise<void> {
  const reign = new Reign();
  const candidates = new Map(
    servers.map((app, index) => {
      const name = `server ${index}`;
      const leadership = app.get(DistributedLockService).lead('leader', {
        ...reign.candidate(name),
        onElected: (hold) => {
          holds.set(name, hold);
          return reign.candidate(name).onElected(hold);
        },
      });
      return [name, { app, leadership }] as const;
    }),
  );
  const holds = new Map<string, Hold>();
  const elections = (count: number) =>
    until(`election ${count}`, () => reign.elected.length >= count, { deadlineMs: 20_000 });

  await elections(1);
  const first = reign.leader!;
  expect([...candidates].filter(([, { leadership }]) => leadership.isLeader)).toHaveLength(1);
  expect(candidates.get(first)!.leadership.isLeader).toBe(true);

  const resigning = candidates.get(first)!.leadership.resign();
  expect(candidates.get(first)!.leadership.isLeader, 'no more, at once').toBe(false);
  expect(holds.get(first)!.lost.reason).toMatchObject({ reason: 'resigned' });
  await resigning;
  await elections(2);
  const second = reign.elected[1]!;
  expect(second).not.toBe(first);

  expect(await holds.get(second)!.release(), 'steps down, and stands again').toBe('released');
  await elections(3);
  const third = reign.elected[2]!;
  await candidates.get(third)!.app.close();
  await until('the last one', () => reign.elected.at(-1) !== third || servers[0] === servers[1]);

  expect(reign.highest, 'leaders at a time').toBe(1);
  expect(reign.deposed.slice(0, 3)).toEqual([
    `${first} resigned`,
    `${second} resigned`,
    `${third} resigned`,
  ]);
}

describeWith('redis', 'postgres')('locks.lead() elects one leader at a time', () => {
  let database: OwnDatabase;
  let redises: readonly OwnRedis[];

  beforeAll(async () => {
    [database, redises] = await Promise.all([
      createDatabase(inject('databaseUrl')!, 'leader'),
      Promise.all(inject('canStartRedis') ? [startRedis(), startRedis(), startRedis()] : []),
    ]);
  });
  afterAll(async () => {
    await Promise.all(redises.map((redis) => redis.stop()));
    await database.drop();
  });

  const STORES: Record<string, () => LockStore> = {
    redis: () => redisStore({ connection: inject('redisUrl')! }),
    zookeeper: () => zookeeperStore({ connectString: inject('zookeeperUrl')! }),
    postgres: () => postgresStore({ connection: database.url }),
    mysql: () => mysqlStore({ connection: inject('mysqlUrl')! }),
    table: () => tableStore({ dataSource: { type: 'postgres', url: database.url } }),
    redlock: () => redlockStore({ connections: redises.map(({ url }) => url), nodeTimeout: '1s' }),
  };
  const canHave: Record<string, boolean> = {
    zookeeper: inject('zookeeperUrl') !== null,
    mysql: inject('mysqlUrl') !== null,
    redlock: inject('canStartRedis'),
  };

  // A server that cannot be had is named as not tested at the end of the run.
  it.each(Object.keys(STORES).filter((name) => canHave[name] ?? true))(
    'over %s, on three servers',
    async (name) => {
      const namespace = `t-${randomUUID().slice(0, 8)}`;
      const servers = await Promise.all([0, 1, 2].map(() => server(STORES[name]!(), namespace)));
      await electsOneAtATime(servers);
    },
  );

  it('over memory, on three candidates of one server', async () => {
    const app = await server(memoryStore(), 'leader');
    await electsOneAtATime([app, app, app]);
  });

  it('control: where the store lets everybody in, several lead at a time, and the watch sees it', async () => {
    const reign = new Reign();
    const app = await server(new OpenDoorStore(), 'leader');
    for (const name of ['a', 'b', 'c'])
      app.get(DistributedLockService).lead('leader', reign.candidate(name));
    await until('three leaders', () => reign.elected.length === 3);
    expect(reign.highest).toBe(3);
  });
});

describe('a leader', () => {
  const start = async () => {
    silent();
    const app = await server(memoryStore(), 'leader');
    const locks = app.get(DistributedLockService);
    const events: LockEvent[] = [];
    locks.events.on((event) => events.push(event));
    return { app, locks, events };
  };

  it('works inside its hold: locked calls under its key join it; the candidacy is no part of the call that starts it', async () => {
    const { locks } = await start();
    let joined: unknown;
    // Inside a hold of the very key: the candidate waits for it like any other.
    const leadership = await locks.withLock('leader', async () => {
      const candidate = locks.lead('leader', {
        onElected: async (hold) => {
          joined = await locks.withLock('leader', { waitTime: 0 }, async (inner) => ({
            sameOwner: inner.owner === hold.owner,
            current: currentHold()?.key,
          }));
        },
      });
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
      expect(candidate.isLeader).toBe(false);
      return candidate;
    });
    await until('its election', () => joined !== undefined);
    expect(joined).toEqual({ sameOwner: true, current: 'leader' });
    await leadership.resign();
    await leadership.resign();
    await (await locks.acquire('leader', { waitTime: 0 })).release();
  });

  it('gives the key back only when its callbacks have ended, or a lease time has passed', async () => {
    const { locks } = await start();
    const [body, deposed] = [new Gate(), new Gate()];
    const leadership = locks.lead('leader', {
      leaseTime: '10s',
      onElected: () => body.opened,
      onDeposed: () => deposed.opened,
    });
    await until('its election', () => leadership.isLeader);
    const resigned = leadership.resign();
    expect(await locks.tryAcquire('leader')).toBeNull();
    deposed.open();
    await new Promise(setImmediate);
    expect(await locks.tryAcquire('leader'), 'onElected has not ended').toBeNull();
    body.open();
    await resigned;
    await (await locks.acquire('leader', { waitTime: 0 })).release();

    const stuck = locks.lead('leader', {
      leaseTime: 150,
      onElected: () => new Promise(() => undefined),
    });
    await until('its election', () => stuck.isLeader);
    await stuck.resign();
    await (await locks.acquire('leader', { waitTime: 0 })).release(); // as if it had died
  });

  it('whose onElected fails steps down and is reported; another one is elected, and it stands again', async () => {
    const { locks, events } = await start();
    const reign = new Reign();
    let failures = 0;
    const failing = locks.lead('leader', {
      onElected: async () => {
        failures += 1;
        throw new Error(`boom ${failures}`);
      },
      onDeposed: () => {
        throw new Error('bang');
      },
    });
    const sound = locks.lead('leader', reign.candidate('sound'));
    await until('the sound one', () => sound.isLeader);
    expect(failing.isLeader).toBe(false);
    const reported = events.filter((event) => event.type === 'leadership-failed');
    expect(reported.map(({ during, error }) => [during, String(error)])).toEqual([
      ['onElected', 'Error: boom 1'],
      ['onDeposed', 'Error: bang'],
    ]);
    await sound.resign();
    await until('the failing one again', () => failures > 1);
    await failing.resign();
  });

  it('resigns when the application closes, before its store does; its callbacks may finish', async () => {
    const { app, locks, events } = await start();
    const order: string[] = [];
    await using leadership = locks.lead('leader', {
      onElected: async (hold) => {
        await new Promise((resolve) => hold.lost.addEventListener('abort', resolve));
        await new Promise(setImmediate);
        order.push(`work ended, ${String(hold.isHeld())}`);
      },
      onDeposed: (reason) => void order.push(`deposed: ${reason}`),
    });
    await until('its election', () => leadership.isLeader);
    await app.close();
    expect(order).toEqual(['deposed: resigned', 'work ended, false']);
    expect(events.map(({ type }) => type)).toEqual([
      'attempted',
      'acquired',
      'elected',
      'deposed',
      'released',
    ]);
  });

  it('of the example relays while it leads, and nobody else does', async () => {
    const app = await startApp({
      imports: [DistributedLockModule.forRoot({ store: memoryStore() })],
      providers: [OutboxRelay],
    });
    const relay = app.get(OutboxRelay);
    await until('a few batches', () => relay.relayed > 2);
    expect(relay.leadership.isLeader).toBe(true);
    await app.close();
    const { relayed } = relay;
    await new Promise((resolve) => setTimeout(resolve, 30)); // three batches, if it went on
    expect(relay.relayed).toBe(relayed);
  });

  it('refuses bad options at once', async () => {
    const { locks } = await start();
    const onElected = () => undefined;
    expect(() => locks.lead('', { onElected })).toThrow(LockKeyError);
    expect(() => locks.lead('a', {} as never)).toThrow(
      'Option "DistributedLockService.lead: onElected" is undefined; allowed: a function.',
    );
    expect(() => locks.lead('a', { onElected, waitTime: '1s' } as never)).toThrow(
      /"DistributedLockService.lead: waitTime" is not known .*allowed: onElected, onDeposed, leaseTime/,
    );
    expect(() => locks.lead('a', { onElected, leaseTime: 1 })).toThrow(LockConfigurationError);
  });
});

describeWith('ownRedis')('a leader whose Redis goes away', () => {
  it('is deposed within its lease, stands on, and one is elected when it is back', async () => {
    silent();
    const redis = await startRedis();
    try {
      const reign = new Reign();
      const store = () => redisStore({ connection: redis.url, commandTimeout: 200 });
      const servers = await Promise.all([0, 1].map(() => server(store(), 'outage')));
      const candidates = servers.map((app, index) =>
        app.get(DistributedLockService).lead('leader', {
          ...reign.candidate(`server ${index}`),
          leaseTime: 600,
        }),
      );
      await until('the first leader', () => reign.elected.length === 1);
      await redis.kill();
      await until('its deposition', () => reign.deposed.length === 1);
      expect(reign.deposed[0]).toBe(`${reign.elected[0]} expired`);
      expect(candidates.map(({ isLeader }) => isLeader)).toEqual([false, false]);
      await redis.restart();
      await until('the next leader', () => reign.elected.length === 2);
      expect(reign.highest).toBe(1);
      await Promise.all(servers.map((app) => app.close()));
    } finally {
      await redis.stop();
    }
  });
});
