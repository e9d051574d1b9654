import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startWorkers, type WorkerPool } from '../support/processes.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { databaseUrl, describeWith, redisUrl } from '../support/with-services.js';

interface Result {
  readonly cancelled: number;
  readonly quoted: number;
  /** Cancelled, with a quote. */
  readonly anomalies: number;
}

/** Two servers: one cancels an application, the other submits a quote to it, in the same millisecond; again and again. */
async function race(
  lock: 'on' | 'off',
  rounds: number,
  database: Client,
  url: string,
): Promise<Result> {
  const pool = await startWorkers({
    script: 'example-worker.mjs',
    count: 2,
    env: { DATABASE_URL: url, REDIS_URL: redisUrl(), LOCK: lock },
  });
  try {
    const ids = await openApplications(database, rounds);
    for (const [round, id] of ids.entries()) await once(pool, id, round % 2);
    return await countResults(database, ids);
  } finally {
    await pool.stop();
  }
}

async function once(pool: WorkerPool, id: string, canceller: number): Promise<void> {
  const results = await pool.together<'done' | 'refused'>([
    { worker: canceller, command: 'cancel', payload: id },
    { worker: 1 - canceller, command: 'submit', payload: id },
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  expect(results.map((it) => it.status === 'fulfilled' && it.value)).toContain('done');
}

async function openApplications(database: Client, count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, () => randomUUID());
  await database.query(
    `INSERT INTO application (id, title, status) SELECT id, 'a race', 'OPEN' FROM unnest($1::uuid[]) AS id`,
    [ids],
  );
  return ids;
}

async function countResults(database: Client, ids: readonly string[]): Promise<Result> {
  const { rows } = await database.query<Result>(
    `SELECT count(*) FILTER (WHERE status = 'CANCELLED')::int AS cancelled,
            count(*) FILTER (WHERE quotes > 0)::int AS quoted,
            count(*) FILTER (WHERE status = 'CANCELLED' AND quotes > 0)::int AS anomalies
       FROM (SELECT status, (SELECT count(*) FROM quote WHERE "applicationId" = a.id) AS quotes
               FROM application a WHERE id = ANY($1)) AS result`,
    [ids],
  );
  return rows[0]!;
}

describeWith('redis', 'postgres')(
  'cancelling an application while a quote is submitted, on two servers',
  () => {
    let database: OwnDatabase;
    let client: Client;

    beforeAll(async () => {
      database = await createDatabase(databaseUrl(), 'cancel_vs_submit');
      client = new Client(database.url);
      await client.connect();
    });

    afterAll(async () => {
      await client.end();
      await database.drop();
    });

    it(
      'control: without the lock some cancelled applications have a quote',
      { timeout: 60_000 },
      async () => {
        const { anomalies } = await race('off', 200, client, database.url);
        expect(anomalies).toBeGreaterThan(0);
      },
    );

    it(
      'leaves every application cancelled with no quote, or open with the quote',
      { timeout: 120_000 },
      async () => {
        const rounds = 500;
        const { cancelled, quoted, anomalies } = await race('on', rounds, client, database.url);
        expect(anomalies).toBe(0);
        expect(cancelled + quoted).toBe(rounds);
        // Both orders happened, or the race was none.
        expect(Math.min(cancelled, quoted)).toBeGreaterThan(0);
      },
    );
  },
);
