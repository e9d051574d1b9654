import { randomUUID } from 'node:crypto';
import type { INestApplication } from '@nestjs/common';
import { DistributedLockService } from 'nestjs-distributed-lock';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createHttpApp } from '../../src/example/http-app.js';
import {
  createDatabase,
  type OwnDatabase,
  type OwnRedis,
  startRedis,
} from '../support/services.js';
import { until } from '../support/until.js';
import { databaseUrl, describeWith } from '../support/with-services.js';

describeWith('ownRedis', 'postgres')('the example over HTTP', () => {
  let database: OwnDatabase;
  let redis: OwnRedis;
  let app: INestApplication;
  let base: string;

  beforeAll(async () => {
    database = await createDatabase(databaseUrl(), 'http');
    redis = await startRedis();
  });

  afterAll(async () => {
    await redis.stop();
    await database.drop();
  });

  beforeEach(async () => {
    app = await createHttpApp(
      { databaseUrl: database.url, store: 'redis', storeUrl: redis.url, port: 0 },
      { logger: ['error'] },
    );
    await app.listen(0, '127.0.0.1');
    base = await app.getUrl();
  });

  afterEach(() => app.close());

  async function post(path: string, body: object = {}) {
    const response = await fetch(base + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      body: (await response.json()) as Record<string, unknown>,
    };
  }

  async function openApplication(): Promise<string> {
    return (await post('/applications', { title: 'A new kitchen' })).body['id'] as string;
  }

  const submit = (id: string) =>
    post(`/applications/${id}/quotes`, { supplier: 'Kim', amount: 1_200 });

  it('cancels an open application, and refuses quotes after that', async () => {
    const id = await openApplication();
    expect(await post(`/applications/${id}/cancel`)).toMatchObject({
      status: 200,
      body: { status: 'CANCELLED' },
    });
    expect((await submit(id)).status).toBe(409);
    const found = (await (await fetch(`${base}/applications/${id}`)).json()) as object;
    expect(found).toMatchObject({ status: 'CANCELLED', quotes: [] });
  });

  it('takes a quote, and refuses to cancel after that', async () => {
    const id = await openApplication();
    expect(await submit(id)).toMatchObject({
      status: 201,
      body: { applicationId: id, amount: 1_200 },
    });
    expect((await post(`/applications/${id}/cancel`)).status).toBe(409);
  });

  it('refuses bad input and unknown applications', async () => {
    expect((await post('/applications', { title: '' })).status).toBe(400);
    expect(
      (
        await post(`/applications/${await openApplication()}/quotes`, {
          supplier: 'Kim',
          amount: -1,
        })
      ).status,
    ).toBe(400);
    expect((await post('/applications/not-a-uuid/cancel')).status).toBe(400);
    expect((await post(`/applications/${randomUUID()}/cancel`)).status).toBe(404);
  });

  it('answers 423 with Retry-After while somebody else keeps the lock', async () => {
    const id = await openApplication();
    await using held = await app.get(DistributedLockService).acquire(`application:${id}`);
    expect(held.isHeld()).toBe(true);
    expect(await submit(id)).toMatchObject({
      status: 423,
      retryAfter: '1',
      body: { code: 'LOCK_WAIT_TIMEOUT', methodRan: false, committed: false, retryable: true },
    });
  });

  it('answers 503 with Retry-After while Redis is away, and works again when it is back', async () => {
    const id = await openApplication();
    await redis.kill();
    expect(await submit(id)).toMatchObject({
      status: 503,
      retryAfter: '1',
      body: { code: 'LOCK_STORE_UNAVAILABLE', methodRan: false, committed: false, retryable: true },
    });
    await redis.restart();
    expect((await submit(id)).status).toBe(201);
  });

  it('turns waiting requests away when the application closes, and lets the running one commit', async () => {
    const id = await openApplication();
    const locks = app.get(DistributedLockService);
    let finish!: () => void;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const running = locks.withLock(`application:${id}`, () => finished.then(() => 'done'));
    const attempts: string[] = [];
    locks.events.on((event) => attempts.push(event.type));
    const waiting = [submit(id), submit(id), submit(id)];
    await until(
      'three waiting requests',
      () => attempts.filter((type) => type === 'attempted').length === 3,
    );
    const closed = app.close();
    for (const answer of await Promise.all(waiting)) {
      expect(answer).toMatchObject({
        status: 503,
        retryAfter: '1',
        body: { code: 'LOCK_CLOSED', methodRan: false },
      });
    }
    finish();
    expect(await running).toBe('done');
    await closed;
    expect(attempts.at(-1)).toBe('released');
  });
});
