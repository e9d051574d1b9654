import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startWorkers, type WorkerPool, type WorkerProcess } from '../support/processes.js';
import { createDatabase, type OwnDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { databaseUrl, describeWith, redisUrl } from '../support/with-services.js';

const CLIENTS = 8;
const REQUESTS = 60;

/** One request that was sent; a request that is repeated is another one. */
interface Attempt {
  readonly supplier: string;
  readonly url: string;
  /** HTTP status; `refused`: nobody listens; `lost`: sent, and never answered. */
  readonly outcome: number | 'refused' | 'lost';
  readonly code: string | undefined;
  readonly afterSignal: boolean;
}

describeWith('redis', 'postgres')('SIGTERM on one of two HTTP servers under load', () => {
  let database: OwnDatabase;
  let client: Client;
  const pools: WorkerPool[] = [];

  beforeAll(async () => {
    database = await createDatabase(databaseUrl(), 'shutdown');
    client = new Client({ connectionString: database.url });
    await client.connect();
  });
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.kill()));
    await client?.end();
    await database?.drop();
  });

  async function server(
    shutdown: 'hooks' | 'exit',
  ): Promise<{ process: WorkerProcess; url: string }> {
    const env = {
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl(),
      PORT: '0',
      SHUTDOWN: shutdown,
    };
    const pool = await startWorkers({ script: 'http-worker.mjs', count: 1, env });
    pools.push(pool);
    return { process: pool.worker(0), url: await pool.worker(0).call<string>('url') };
  }

  async function openApplication(): Promise<string> {
    const id = randomUUID();
    await client.query(
      "INSERT INTO application (id, title, status) VALUES ($1, 'kitchen', 'OPEN')",
      [id],
    );
    return id;
  }

  /** Sends requests that all want the same lock to both servers; signals the first server in the middle. Repeats what was not done on the other one. */
  async function loadWhileOneEnds(
    ending: { process: WorkerProcess; url: string },
    other: { url: string },
    application: string,
  ): Promise<readonly Attempt[]> {
    const attempts: Attempt[] = [];
    let [next, done, signalled] = [0, 0, false];
    const send = async (url: string, supplier: string): Promise<Attempt> => {
      let outcome: Attempt['outcome'];
      let code: string | undefined;
      try {
        const response = await fetch(`${url}/applications/${application}/quotes`, {
          method: 'POST',
          // Connections that are kept open would keep the server open, too.
          headers: { 'content-type': 'application/json', connection: 'close' },
          body: JSON.stringify({ supplier, amount: 1 }),
        });
        outcome = response.status;
        code = ((await response.json()) as { code?: string }).code;
      } catch (error) {
        const { cause } = error as { cause?: { code?: string } };
        outcome = cause?.code === 'ECONNREFUSED' ? 'refused' : 'lost';
      }
      const attempt = { supplier, url, outcome, code, afterSignal: signalled };
      attempts.push(attempt);
      return attempt;
    };
    const work = async (): Promise<void> => {
      for (let n = next++; n < REQUESTS; n = next++) {
        let url = n % 2 === 0 ? ending.url : other.url;
        for (let tries = 0; (await send(url, `${n}.${tries}`)).outcome !== 201; tries += 1) {
          url = other.url;
        }
        done += 1;
      }
    };
    // In the moment after a commit that is not answered yet.
    ending.process.onEvent(({ name }) => {
      if (name !== 'committed' || signalled || done < REQUESTS / 4) return;
      signalled = true;
      process.kill(ending.process.pid, 'SIGTERM');
    });
    await Promise.all(Array.from({ length: CLIENTS }, work));
    await ending.process.exited;
    return attempts;
  }

  async function suppliers(application: string): Promise<string[]> {
    const found = await client.query<{ supplier: string }>(
      'SELECT supplier FROM quote WHERE "applicationId" = $1',
      [application],
    );
    return found.rows.map(({ supplier }) => supplier);
  }

  const answered = (attempts: readonly Attempt[]) =>
    attempts.filter(({ outcome }) => outcome === 201).map(({ supplier }) => supplier);

  it('what was answered 201 is committed, once; nothing else was written; the rest was told to try again', async () => {
    const staying = await server('hooks');
    const [ending, abrupt] = await Promise.all([server('hooks'), server('exit')]);
    const application = await openApplication();
    const attempts = await loadWhileOneEnds(ending, staying, application);

    const written = await suppliers(application);
    expect(written.toSorted()).toEqual(answered(attempts).toSorted());
    const done = new Set(written.map((supplier) => supplier.split('.')[0]));
    expect([written.length, done.size], 'every request, none twice').toEqual([REQUESTS, REQUESTS]);

    // It was under load when it was told to end: some were inside or waiting, and some came too late.
    const ofEnding = attempts.filter(({ url, afterSignal }) => url === ending.url && afterSignal);
    expect(
      ofEnding.some(({ outcome }) => outcome === 201),
      'holders finished',
    ).toBe(true);
    const turnedAway = ofEnding.filter(({ outcome }) => outcome !== 201);
    expect(turnedAway.length).toBeGreaterThan(0);
    expect(
      turnedAway.filter(({ outcome, code }) => outcome === 503 && code !== 'LOCK_CLOSED'),
    ).toEqual([]);
    expect(await ending.process.exited).toBe('SIGTERM');

    // Control: a server that just ends has committed what it never answered, and the repetition does it twice.
    const second = await openApplication();
    const unlucky = await loadWhileOneEnds(abrupt, staying, second);
    const wrote = await suppliers(second);
    const told = new Set(answered(unlucky));
    expect(wrote.filter((supplier) => !told.has(supplier)).length).toBeGreaterThan(0);
    expect(wrote.length).toBeGreaterThan(REQUESTS);
  });
});

describeWith('redis')(
  'SIGTERM on a server that leads, runs a job, and has one that does not end',
  () => {
    let pool: WorkerPool;

    beforeAll(async () => {
      pool = await startWorkers({ script: 'lock-worker.mjs', count: 2 });
      const options = {
        store: { connection: redisUrl() },
        namespace: `t-${randomUUID().slice(0, 8)}`,
        shutdownGrace: '600ms',
        shutdownHooks: true,
      };
      await Promise.all(pool.workers.map((worker) => worker.call('boot', options)));
    });
    afterAll(() => pool.kill());

    it('it resigns, the job finishes, the other one is given up after shutdownGrace; all go on elsewhere', async () => {
      const [ending, other] = [pool.worker(0), pool.worker(1)];
      const seen = (worker: WorkerProcess, name: string, key: string) =>
        worker.events.find(
          (event) => event.name === name && (event.detail as { key?: string }).key === key,
        );
      await ending.call('lead', { key: 'leader', leaseTime: '20s' });
      await until('its election', () => seen(ending, 'elected', 'leader') !== undefined);
      await ending.call('start', { key: 'short', untilMs: 200 });
      await ending.call('start', { key: 'endless', untilMs: 60_000 });
      await other.call('lead', { key: 'leader', leaseTime: '20s' });
      const entering = (key: string) =>
        other.call<{ at: number }>('acquire', { name: key, key, waitTime: '10s' });

      const entered = Promise.all([entering('short'), entering('endless')]);
      const signalledAt = Number(process.hrtime.bigint()) / 1e6;
      process.kill(ending.pid, 'SIGTERM');
      await until('its successor', () => seen(other, 'elected', 'leader') !== undefined);
      expect(seen(ending, 'deposed', 'leader')!.at).toBeLessThanOrEqual(
        seen(other, 'elected', 'leader')!.at,
      );
      const [short, endless] = await entered;
      expect(await ending.exited).toBe('SIGTERM');
      expect(seen(ending, 'work-ended', 'short')!.detail).toEqual({ key: 'short', lost: null });
      expect(seen(ending, 'work-ended', 'endless')!.detail).toEqual({
        key: 'endless',
        lost: 'closed',
      });
      expect(short.at).toBeGreaterThanOrEqual(seen(ending, 'work-ended', 'short')!.at);
      // Not by the leases, which last much longer.
      expect(endless.at - signalledAt).toBeGreaterThanOrEqual(590);
      expect(endless.at - signalledAt).toBeLessThan(5_000);
    });
  },
);
