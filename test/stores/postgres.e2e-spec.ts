import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockConfigurationError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { postgresStore } from '../../src/distributed-lock/store/postgres/index.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { advisoryLocks, ask, PostgresWorld } from '../contract/postgres-world.js';
import { createDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { startPgBouncer } from './pgbouncer.js';
import { startStandby } from './postgres-standby.js';
import { bootOnce } from './boot-once.js';
import { describeSessionStore, type SessionServer } from './session-store.js';

const serverUrl = inject('databaseUrl');

class Server implements SessionServer {
  readonly takes = 'pg_try_advisory_lock';
  url = serverUrl ?? '';
  drop = async (): Promise<void> => undefined;

  async create(): Promise<void> {
    const { url, drop } = await createDatabase(serverUrl!, 'postgres_store');
    Object.assign(this, { url, drop });
  }

  world(): PostgresWorld {
    return new PostgresWorld(this.url);
  }

  unopened(url: string, options: object = {}) {
    return postgresStore({ connection: url, ...options });
  }
}

describe.skipIf(serverUrl === null)('postgresStore', () => {
  const server = new Server();
  beforeAll(() => server.create());
  afterAll(() => server.drop());

  const boot = async (options: Partial<Parameters<typeof postgresStore>[0]>) =>
    bootOnce(postgresStore({ connection: server.url, ...options }));

  describeSessionStore(server);

  describe('waking', () => {
    const handOff = async (wake: 'push' | 'poll', safetyLook: string) => {
      const world = new PostgresWorld(server.url, { wake, safetyLook });
      try {
        const [holder, other] = [await world.store(), await world.store()];
        const grant = await take(holder, freshKey());
        const waiting = other.acquire(request(grant.key, { waitTimeMs: 2_000 }));
        await pause(100);
        const releasedAt = now();
        await holder.release(grant);
        return { served: (await waiting) !== null, ms: now() - releasedAt };
      } finally {
        await world.close();
      }
    };

    it('is by notification, long before the next look', async () => {
      expect(await handOff('push', '1m')).toMatchObject({ served: true });
      expect((await handOff('push', '1m')).ms).toBeLessThan(500);
    });

    it("is by looking again with wake: 'poll'", async () => {
      expect(await handOff('poll', '1m')).toMatchObject({ served: true });
    });

    it('control: a store of another namespace is neither excluded nor woken', async () => {
      const [one, two] = [
        new PostgresWorld(server.url),
        new PostgresWorld(server.url, { safetyLook: '1m' }),
      ];
      try {
        const [holder, other] = [await one.store(), await two.store()];
        const key = freshKey();
        const grant = await take(holder, key);
        const same = await take(other, key);
        expect(await holder.release(grant)).toBe('released');
        expect(await other.release(same)).toBe('released');
      } finally {
        await one.close();
        await two.close();
      }
    });
  });

  it('leaves no lock and no mark behind, whatever waiters did', async () => {
    const world = server.world();
    try {
      const [holder, other] = [await world.store(), await world.store()];
      const before = await advisoryLocks(server.url);
      const grants = await Promise.all(
        Array.from({ length: 20 }, (_, n) => take(holder, freshKey(`k${n}`))),
      );
      const abort = new AbortController();
      const waiting = grants.map(({ key }, n) =>
        other
          .acquire(request(key, { waitTimeMs: n % 2 === 0 ? 100 : 60_000, signal: abort.signal }))
          .catch(() => null),
      );
      await until('marks', async () => (await advisoryLocks(server.url)) === before + 40);
      await pause(150);
      abort.abort(new Error('gone'));
      expect(await Promise.all(waiting)).toEqual(grants.map(() => null));
      await Promise.all(grants.map((grant) => holder.release(grant)));
      await until('nothing left', async () => (await advisoryLocks(server.url)) === before);
    } finally {
      await world.close();
    }
  });

  it('an error half way through a take leaves nothing held, and spares the other holds', async () => {
    const world = new PostgresWorld(server.url, { sequence: 'passing_token' });
    try {
      const store = await world.store();
      const kept = await take(store, freshKey('kept'));
      const held = await advisoryLocks(server.url);
      await ask(server.url, 'DROP SEQUENCE passing_token');
      await expect(store.acquire(request(freshKey()))).rejects.toThrow(/could not open relation/);
      expect(await advisoryLocks(server.url)).toBe(held);
      expect(await store.release(kept)).toBe('released');
    } finally {
      await world.close();
    }
  });

  it('opens its connection with what a function makes', async () => {
    let made = 0;
    await boot({
      connection: () => {
        made += 1;
        return new Client({ connectionString: server.url });
      },
    });
    expect(made).toBe(1);
  });

  describe('refuses', () => {
    it.each([
      [
        { connection: 'redis://x' },
        /Option "connection" of postgresStore is "redis:\/\/x"; allowed: 'postgres/,
      ],
      [{ connection: new Client() }, /is a Client or Pool; allowed: a URL/],
      [
        { wake: 'shout' as 'push' },
        /Option "wake" of postgresStore is "shout"; allowed: "push", "poll"/,
      ],
      [
        { pooler: 'any' as 'session' },
        /Option "pooler" of postgresStore is "any"; allowed: "refuse", "session"/,
      ],
      [
        { sequence: 'a"b' },
        /Option "sequence" of postgresStore is "a\\"b"; allowed: a name or schema.name/,
      ],
      [
        { sessionTimeout: '10ms' },
        /Option "postgresStore.sessionTimeout" is "10ms"; allowed: 1000 ms/,
      ],
      [
        { turnGrants: 0 },
        /Option "turnGrants" of postgresStore is 0; allowed: a whole number from 1/,
      ],
      [
        { lease: 1 } as never,
        /Option "postgresStore.lease" is not known \(given: 1\); allowed: connection, wake/,
      ],
    ])('options that make no sense, %#', async (options, message) => {
      await expect(boot(options)).rejects.toThrow(message);
    });

    it('a password, or a database, that is wrong', async () => {
      const url = new URL(server.url);
      url.pathname = '/no_such_database';
      await expect(boot({ connection: url.href })).rejects.toThrow(LockConfigurationError);
      await expect(boot({ connection: url.href })).rejects.toThrow(/refuses.*no_such_database/);
    });

    it('a user that may not use the sequence', async () => {
      const role = `r${randomBytes(4).toString('hex')}`;
      await ask(server.url, `CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
      const url = new URL(server.url);
      url.username = role;
      url.password = 'x';
      await boot({});
      await expect(boot({ connection: url.href })).rejects.toThrow(
        /may not be used by this user. Run: GRANT USAGE/,
      );
      await ask(server.url, `GRANT USAGE ON SEQUENCE distributed_lock_token TO ${role}`);
      await boot({ connection: url.href, createSequence: false });
      await ask(server.url, `DROP OWNED BY ${role}`);
      await ask(server.url, `DROP ROLE ${role}`);
    });

    it('a read replica', async () => {
      const standby = await startStandby();
      try {
        await expect(boot({ connection: standby.url })).rejects.toThrow(
          /read replica.*Connect it to the primary/,
        );
      } finally {
        await standby.stop();
      }
    });
  });

  describe.skipIf(!inject('canStartPgBouncer'))('behind PgBouncer', () => {
    it('in transaction mode: refuses to start', async () => {
      const bouncer = await startPgBouncer(server.url, 'transaction');
      try {
        await expect(boot({ connection: bouncer.url })).rejects.toThrow(
          /connection pooler.*Connect to the server itself; or set pooler: 'session'/,
        );
      } finally {
        await bouncer.stop();
      }
    });

    it("in session mode: refuses, too, unless it is told (pooler: 'session')", async () => {
      const bouncer = await startPgBouncer(server.url, 'session');
      try {
        await expect(boot({ connection: bouncer.url })).rejects.toThrow(/connection pooler/);
        await boot({ connection: bouncer.url, pooler: 'session' });
      } finally {
        await bouncer.stop();
      }
    });
  });
});
