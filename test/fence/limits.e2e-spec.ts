import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { Gate, rejection } from '../transaction/spec-hold.js';
import { type Actor, canHave, FenceWorld, holdWith } from './fence-world.js';

const SETTINGS = [
  'lock_timeout',
  'statement_timeout',
  'idle_in_transaction_session_timeout',
] as const;

describe.skipIf(!canHave('postgres'))('the limits of a fenced transaction, on postgres', () => {
  let world: FenceWorld;
  let actor: Actor;

  beforeAll(async () => {
    world = await FenceWorld.open('postgres');
    actor = await world.actor({}, { poolSize: 1 });
  });
  afterAll(() => world?.close());

  async function limits(query: (sql: string) => Promise<unknown>): Promise<Record<string, number>> {
    const sql = SETTINGS.map(
      (name) => `(extract(epoch FROM current_setting('${name}')::interval) * 1000)::int AS ${name}`,
    ).join(', ');
    const [row] = (await query(`SELECT ${sql}`)) as [Record<string, number>];
    return row;
  }
  const all = (ms: number) => Object.fromEntries(SETTINGS.map((name) => [name, ms]));

  it('are what is left of a lease that is not renewed, and end with the transaction', async () => {
    const before = await limits((sql) => actor.dataSource.query(sql));
    const hold = Object.assign(holdWith(1), { renews: false, leftMs: 4_321 });
    const inside = await actor.transactions.run({}, hold, (manager) =>
      limits((sql) => manager.query(sql)),
    );
    expect(inside).toEqual(all(4_321));
    await rejection(
      actor.transactions.run({}, hold, () => Promise.reject(new Error('rolled back'))),
    );
    // The pool has one connection: it is the same session.
    expect(await limits((sql) => actor.dataSource.query(sql))).toEqual(before);
    expect(before).toEqual(all(0));
  });

  it('are maxHold under a lock that is renewed', async () => {
    const inside = await actor.transactions.run({ maxHold: '5m' }, holdWith(1), (manager) =>
      limits((sql) => manager.query(sql)),
    );
    for (const ms of Object.values(inside)) {
      expect(ms).toBeGreaterThan(290_000);
      expect(ms).toBeLessThanOrEqual(300_000);
    }
  });

  it('never lengthen those that the application has set itself', async () => {
    const strict = await world.actor(
      {},
      { extra: { statement_timeout: 1_500, lock_timeout: 2_000 } },
    );
    const hold = Object.assign(holdWith(1), { renews: false, leftMs: 60_000 });
    const inside = await strict.transactions.run({}, hold, (manager) =>
      limits((sql) => manager.query(sql)),
    );
    expect(inside).toEqual({ ...all(60_000), statement_timeout: 1_500, lock_timeout: 2_000 });
  });

  it('free the row from a holder that sits idle inside: its successor commits, it does not', async () => {
    const successor = await world.actor();
    const idle = new Gate();
    const leave = new Gate();
    const short = Object.assign(holdWith(7), { renews: false, leftMs: 400 });
    const late = rejection(
      actor.transactions.run({}, short, async (manager) => {
        await world.write(manager, 0);
        idle.open();
        await leave.passed();
      }),
    );
    await idle.passed();
    await successor.transactions.run({}, holdWith(8), (manager) => world.add(manager, 5));
    leave.open();
    expect(await late).toMatchObject({
      code: 'TRANSACTION_ROLLED_BACK',
      reason: 'connection-lost',
      committed: false,
    });
    expect(await world.balance()).toBe(105);
    await until('no session left in a transaction', async () => {
      const rows = await world.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
      );
      return rows.length === 0;
    });
    await actor.transactions.run({}, holdWith(9), (manager) => world.read(manager)); // the pool of one works
  });

  it('control: unfenced, the same idle holder commits over its successor', async () => {
    await world.reset();
    const idle = new Gate();
    const leave = new Gate();
    const successor = await world.actor();
    const late = actor.transactions.run({ fenced: false }, holdWith(7), async (manager) => {
      const balance = await world.read(manager);
      idle.open();
      await leave.passed();
      await world.write(manager, balance + 1);
    });
    await idle.passed();
    await successor.transactions.run({ fenced: false }, holdWith(8), (manager) =>
      world.add(manager, 5),
    );
    leave.open();
    await late;
    expect(await world.balance()).toBe(101); // the 5 are lost
  });
});

describe.skipIf(!canHave('mariadb'))('the limits of a fenced transaction, on mariadb', () => {
  let world: FenceWorld;

  beforeAll(async () => {
    world = await FenceWorld.open('mariadb');
  });
  afterAll(() => world?.close());

  it('bound the wait at the fence, and leave nothing in the session', async () => {
    const actor = await world.actor({}, { poolSize: 1 });
    const setting = async (query: (sql: string) => Promise<unknown>) => {
      const [row] = (await query('SELECT @@innodb_lock_wait_timeout AS wait')) as [
        { wait: string },
      ];
      return Number(row.wait);
    };
    const before = await setting((sql) => actor.dataSource.query(sql));
    const hold = Object.assign(holdWith(1), { renews: false, leftMs: 1_000 });
    const inside = await actor.transactions.run({}, hold, (manager) =>
      setting((sql) => manager.query(sql)),
    );
    expect(inside).toBe(before);
    expect(before).toBeGreaterThan(1);
    const holder = await world.actor();
    const [entered, leave] = [new Gate(), new Gate()];
    const holding = holder.transactions.run({}, holdWith(2), async () => {
      entered.open();
      await leave.passed();
    });
    await entered.passed();
    const short = Object.assign(holdWith(3), { renews: false, leftMs: 1_000 });
    const startedAt = performance.now();
    const error = await rejection(actor.transactions.run({}, short, async () => undefined));
    leave.open();
    await holding;
    expect(error).toMatchObject({ code: 'FENCE_WAIT_TIMEOUT' });
    expect(performance.now() - startedAt).toBeLessThan((before * 1_000) / 4);
  });
});
