import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  END_OTHERS,
  SESSIONS_OF,
} from '../../src/distributed-lock/store/postgres/postgres.operator.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { until } from '../support/until.js';

const server = inject('databaseUrl');

/** What the PostgreSQL store relies on in PostgreSQL and in pg, as running proof. */
describe.skipIf(server === null)('facts', () => {
  let database: OwnDatabase;
  const clients: Client[] = [];
  beforeAll(async () => {
    database = await createDatabase(server!, 'postgres_facts');
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
  });
  afterAll(() => database.drop());

  async function connect(): Promise<Client> {
    const client = new Client({ connectionString: database.url });
    client.on('error', () => undefined); // broken on purpose
    clients.push(client);
    await client.connect();
    return client;
  }

  /** The only value of the only row. */
  async function value(client: Client, sql: string): Promise<unknown> {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return Object.values(rows[0] ?? {})[0];
  }

  describe('an advisory lock', () => {
    it('can be taken twice by the session that has it, and then takes two unlocks', async () => {
      const [one, two] = [await connect(), await connect()];
      expect(await value(one, 'SELECT pg_try_advisory_lock(1)')).toBe(true);
      expect(await value(one, 'SELECT pg_try_advisory_lock(1)')).toBe(true);
      expect(await value(one, 'SELECT pg_advisory_unlock(1)')).toBe(true);
      expect(await value(two, 'SELECT pg_try_advisory_lock(1)')).toBe(false);
      expect(await value(one, 'SELECT pg_advisory_unlock(1)')).toBe(true);
      expect(await value(two, 'SELECT pg_try_advisory_lock(1)')).toBe(true);
    });

    it('stays after an error in the statement that took it', async () => {
      const [one, two] = [await connect(), await connect()];
      await expect(
        one.query('SELECT CASE WHEN pg_try_advisory_lock(2) THEN 1 / (random() * 0)::int END'),
      ).rejects.toThrow(/division by zero/);
      expect(await value(two, 'SELECT pg_try_advisory_lock(2)')).toBe(false);
    });

    it('that is unlocked without being held is a warning, not an error', async () => {
      expect(await value(await connect(), 'SELECT pg_advisory_unlock(3)')).toBe(false);
    });

    it("does not conflict with the session's own share of it, and does with another's", async () => {
      const [one, two] = [await connect(), await connect()];
      await value(one, 'SELECT pg_try_advisory_lock_shared(4)');
      expect(await value(one, 'SELECT pg_try_advisory_lock(4)')).toBe(true);
      expect(await value(one, 'SELECT pg_advisory_unlock(4)')).toBe(true);
      expect(await value(two, 'SELECT pg_try_advisory_lock_shared(4)')).toBe(true);
      expect(await value(one, 'SELECT pg_try_advisory_lock(4)')).toBe(false);
      expect(await value(two, 'SELECT pg_advisory_unlock_shared(4)')).toBe(true);
      expect(await value(one, 'SELECT pg_try_advisory_lock(4)')).toBe(true);
    });

    it('can be shared twice by a session as well, and then takes two unlocks; shares and the other kind are counted apart', async () => {
      const [one, two] = [await connect(), await connect()];
      for (let n = 0; n < 2; n += 1)
        expect(await value(one, 'SELECT pg_try_advisory_lock_shared(7)')).toBe(true);
      expect(await value(one, 'SELECT pg_try_advisory_lock(7)')).toBe(true);
      expect(await value(one, 'SELECT pg_advisory_unlock(7)')).toBe(true);
      expect(await value(one, 'SELECT pg_advisory_unlock(7)'), 'none of that kind left').toBe(
        false,
      );
      expect(await value(one, 'SELECT pg_advisory_unlock_shared(7)')).toBe(true);
      expect(await value(two, 'SELECT pg_try_advisory_lock(7)')).toBe(false);
      expect(await value(one, 'SELECT pg_advisory_unlock_shared(7)')).toBe(true);
      expect(await value(two, 'SELECT pg_try_advisory_lock(7)')).toBe(true);
      expect(await value(one, 'SELECT pg_try_advisory_lock_shared(7)')).toBe(false);
    });

    it('lets shares in for ever while another session only tries to have it alone', async () => {
      const [one, two, three] = [await connect(), await connect(), await connect()];
      const [share, leave] = ['pg_try_advisory_lock_shared(8)', 'pg_advisory_unlock_shared(8)'];
      await value(one, `SELECT ${share}`);
      for (let n = 0; n < 5; n += 1) {
        expect(await value(three, 'SELECT pg_try_advisory_lock(8)')).toBe(false);
        expect(await value([two, one][n % 2]!, `SELECT ${share}`)).toBe(true);
        expect(await value([one, two][n % 2]!, `SELECT ${leave}`)).toBe(true);
      }
    });

    it.each([
      '1',
      '-1',
      '4294967296',
      '-4294967297',
      '9223372036854775807',
      '-9223372036854775808',
    ])('under two halves of a number is another one than under the number: %s', async (number) => {
      const [one, two] = [await connect(), await connect()];
      const halves = `(n >> 32)::int, (n << 32 >> 32)::int`;
      const from = `FROM (VALUES ('${number}'::bigint)) AS t(n)`;
      expect(await value(one, `SELECT pg_try_advisory_lock(n) ${from}`)).toBe(true);
      expect(await value(two, `SELECT pg_try_advisory_lock(${halves}) ${from}`)).toBe(true);
      expect(await value(one, `SELECT pg_try_advisory_lock_shared(${halves}) ${from}`)).toBe(false);
      expect(
        await value(
          two,
          `SELECT (classid::bigint << 32 | objid::bigint)::text FROM pg_locks, (SELECT 1) AS it
             WHERE locktype = 'advisory' AND objsubid = 2 AND pid = pg_backend_pid()`,
        ),
        'all bits are kept',
      ).toBe(number);
    });

    it('belongs to the database: others have their own', async () => {
      const other = await createDatabase(server!, 'postgres_facts_other');
      const elsewhere = new Client({ connectionString: other.url });
      await elsewhere.connect();
      await value(await connect(), 'SELECT pg_try_advisory_lock(5)');
      expect(await value(elsewhere, 'SELECT pg_try_advisory_lock(5)')).toBe(true);
      await elsewhere.end();
      await other.drop();
    });

    it('is free when its session has ended', async () => {
      const [one, two] = [await connect(), await connect()];
      await value(one, 'SELECT pg_try_advisory_lock(6)');
      await one.end();
      await until(
        'the lock',
        async () => (await value(two, 'SELECT pg_try_advisory_lock(6)')) === true,
      );
    });

    it('shows in pg_locks under its number, negative ones too, with its session; a share of another number as a mark', async () => {
      const [one, two, three] = [await connect(), await connect(), await connect()];
      const [lock, mark] = ['-6148914691236517206', '6148914691236517205'];
      await value(one, `SELECT pg_try_advisory_lock(${lock})`);
      await value(two, `SELECT pg_try_advisory_lock_shared(${mark})`);
      await value(two, 'SELECT pg_try_advisory_lock_shared(7, 7)');
      const { rows } = await three.query<{ what: string }>(SESSIONS_OF, [lock, mark]);
      expect(rows.toSorted((it, other) => (it.what < other.what ? -1 : 1))).toEqual([
        { session: String(await value(one, 'SELECT pg_backend_pid()')), what: 'exclusive' },
        { session: String(await value(two, 'SELECT pg_backend_pid()')), what: 'waits' },
      ]);
    });

    it('is freed when another session ends the one that has it, and only that one', async () => {
      const [one, two, bystander] = [await connect(), await connect(), await connect()];
      await value(one, 'SELECT pg_try_advisory_lock(8)');
      await value(bystander, 'SELECT pg_try_advisory_lock(9)');
      expect((await two.query(END_OTHERS, ['8'])).rows).toEqual([{ ended: 'true' }]);
      const free = async () => (await value(two, 'SELECT pg_try_advisory_lock(8)')) === true;
      await until('the lock', free);
      expect((await two.query(END_OTHERS, ['8'])).rows, 'never its own').toEqual([]);
      expect(await value(bystander, 'SELECT pg_advisory_unlock(9)')).toBe(true);
    });
  });

  it('rows of unnest are evaluated in order', async () => {
    const client = await connect();
    await client.query('CREATE SEQUENCE in_order CACHE 1');
    const { rows } = await client.query<{ id: string; n: string }>(
      "SELECT t.id::text, nextval('in_order')::text AS n FROM unnest($1::bigint[]) AS t(id)",
      [Array.from({ length: 100 }, (_, n) => String(100 - n))],
    );
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 100 }, (_, n) => String(n + 1)));
  });

  it('a sequence with a cache hands numbers out of order, one without does not', async () => {
    const [one, two] = [await connect(), await connect()];
    const draws = async (sequence: string) => {
      const drawn: unknown[] = [];
      for (const client of [one, two, one])
        drawn.push(await value(client, `SELECT nextval('${sequence}')::int`));
      return drawn;
    };
    await one.query('CREATE SEQUENCE cached CACHE 10');
    await one.query('CREATE SEQUENCE uncached CACHE 1');
    expect(await draws('cached')).toEqual([1, 11, 2]);
    expect(await draws('uncached')).toEqual([1, 2, 3]);
  });

  it('idle_session_timeout ends a silent session, not one that speaks', async () => {
    const [silent, speaking] = [await connect(), await connect()];
    const ended = new Promise<void>((resolve) => silent.on('end', resolve));
    let over = false;
    void ended.then(() => (over = true));
    for (const client of [silent, speaking])
      await client.query("SET idle_session_timeout = '500ms'");
    const startedAt = performance.now();
    await until('the silent session to end', async () => {
      await speaking.query('SELECT 1');
      return over;
    });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(490);
    expect(await value(speaking, 'SELECT 1')).toBe(1);
  });

  it('a notification arrives at every listener, the sender included, and says who sent it', async () => {
    const [sender, listener] = [await connect(), await connect()];
    const heard: [string, number, string | undefined][] = [];
    sender.on('notification', ({ processId, payload }) =>
      heard.push(['sender', processId, payload]),
    );
    listener.on('notification', ({ processId, payload }) =>
      heard.push(['listener', processId, payload]),
    );
    for (const client of [sender, listener]) await client.query('LISTEN spoken');
    const pid = (await value(sender, 'SELECT pg_backend_pid()')) as number;
    expect(await value(sender, "SELECT 'woke' || pg_notify('spoken', '7')::text")).toBe('woke');
    await until('both', () => heard.length === 2);
    expect(heard).toContainEqual(['listener', pid, '7']);
    expect(heard).toContainEqual(['sender', pid, '7']);
  });

  it('pg knows from the start of a connection which process serves it', async () => {
    const client = (await connect()) as Client & { processID: number };
    expect(client.processID).toBe(await value(client, 'SELECT pg_backend_pid()'));
  });
});
