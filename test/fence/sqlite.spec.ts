import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  fenceDdl,
  LockFenceMigration,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { fenceDialect } from '../../src/distributed-lock/transaction/typeorm/fence/fence-dialects.js';
import { rejection } from '../transaction/spec-hold.js';

const sqlite = fenceDialect('sqlite');

/**
 * The dialect by itself, on two connections (two processes, as it were): a DataSource of SQLite has one connection for everybody, so
 * its locked transactions need a queue of their own.
 */
describe('the fence on sqlite', () => {
  let directory: string;
  let a: DataSource;
  let b: DataSource;

  const open = () =>
    new DataSource({
      type: 'better-sqlite3',
      database: join(directory, 'fence.sqlite'),
      enableWAL: true,
      timeout: 1, // milliseconds until "busy": better-sqlite3 waits synchronously
      migrations: [LockFenceMigration],
    }).initialize();

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'fence-'));
    a = await open();
    b = await open();
    await a.query('CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)');
    await a.query('INSERT INTO account VALUES (1, 100)');
    await a.runMigrations();
  });
  afterEach(async () => {
    await a.destroy();
    await b.destroy();
    rmSync(directory, { recursive: true });
  });

  const enter = (source: DataSource, token: bigint, nonce = randomUUID(), keys = ['key']) =>
    sqlite.enter((sql, values) => source.query(sql, [...(values ?? [])]), {
      table: 'lock_fence',
      keys: keys.map((name) => ({ name, token })),
      nonce,
      budgetMs: 1_000,
    });
  const begin = (source: DataSource) => source.query('BEGIN TRANSACTION');
  const commit = (source: DataSource) => source.query('COMMIT');
  const rollback = (source: DataSource) => source.query('ROLLBACK');

  it('lets new and equal tokens in, and tells which higher one refused', async () => {
    const big = 2n ** 62n + 1n; // beyond what a JavaScript number tells apart
    expect(await enter(a, big)).toEqual({ stale: [] });
    expect(await enter(a, big)).toEqual({ stale: [] });
    expect(await enter(b, big - 1n)).toEqual({ stale: [{ name: 'key', seenToken: big }] });
    expect(await enter(b, big + 1n)).toEqual({ stale: [] });
  });

  it('takes several keys in one statement, and finds the stale one', async () => {
    await enter(a, 9n, randomUUID(), ['b']);
    expect(await enter(a, 8n, randomUUID(), ['a', 'b', 'c'])).toEqual({
      stale: [{ name: 'b', seenToken: 9n }],
    });
  });

  it('as the first statement keeps every other connection out until the end: busy, to be tried again', async () => {
    await begin(a);
    await enter(a, 7n);
    await begin(b);
    const busy = await rejection(enter(b, 8n));
    expect(sqlite.failureOf(busy)).toBe('gave-up');
    await rollback(b);
    await commit(a);
    await begin(b);
    expect(await enter(b, 8n)).toEqual({ stale: [] });
    await commit(b);
  });

  it('notices a snapshot that is older than the fence', async () => {
    await begin(b);
    await b.query('SELECT * FROM account');
    await begin(a);
    await enter(a, 7n);
    await a.query('UPDATE account SET balance = 110');
    await commit(a);
    expect(sqlite.failureOf(await rejection(enter(b, 8n)))).toBe('gave-up');
    await rollback(b);
  });

  it('tells what became of a transaction', async () => {
    const nonce = randomUUID();
    const lost = {
      table: 'lock_fence',
      keys: [{ name: 'key', token: 7n }],
      nonce,
      budgetMs: 1_000,
      earlierNonces: [],
    };
    const witness = async () => {
      await begin(b);
      try {
        return await sqlite.witness((sql, values) => b.query(sql, [...(values ?? [])]), lost);
      } finally {
        await rollback(b);
      }
    };
    expect(await witness()).toBe('rolled-back'); // no row
    await enter(a, 7n, nonce);
    expect(await witness()).toBe('committed');
    await enter(a, 8n);
    expect(await witness()).toBe('unknown'); // overwritten
    expect(await a.query('SELECT count(*) AS n FROM lock_fence')).toEqual([{ n: 1 }]);
  });

  it('control: without the fence, the second connection reads the old value and overwrites', async () => {
    const before = (await b.query('SELECT balance FROM account')) as { balance: number }[];
    await a.query('UPDATE account SET balance = 110');
    await b.query(`UPDATE account SET balance = ${before[0]!.balance + 100}`);
    expect(await a.query('SELECT balance FROM account')).toEqual([{ balance: 200 }]); // the 10 are lost
  });

  it('finds a missing table, and prunes by age', async () => {
    expect(sqlite.failureOf(await rejection(a.query(sqlite.check('no_such'))))).toBe(
      'table-missing',
    );
    for (const statement of fenceDdl('sqlite')) await a.query(statement); // is there already
    await enter(a, 1n);
    await a.query(sqlite.prune('lock_fence', 3_600_000));
    expect(await a.query('SELECT count(*) AS n FROM lock_fence')).toEqual([{ n: 1 }]);
    await a.query('UPDATE lock_fence SET updated_at = updated_at - 7200000');
    await a.query(sqlite.prune('lock_fence', 3_600_000));
    expect(await a.query('SELECT count(*) AS n FROM lock_fence')).toEqual([{ n: 0 }]);
  });
});
