/**
 * One server: the example application in a process of its own. Cancels applications, submits quotes to them, and works on `job1`
 * as one of the ten workers of the timeline.
 */
import 'reflect-metadata';
import { setTimeout as pause } from 'node:timers/promises';
import { HttpException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DistributedLockService, LockWaitTimeoutError } from 'nestjs-distributed-lock';
import { DataSource } from 'typeorm';
import { configFromEnvironment } from '../app.config.js';
import { AppModule } from '../app.module.js';
import { ApplicationCancelService } from '../application/application-cancel.service.js';
import { QuoteSubmitService } from '../quote/quote-submit.service.js';
import { monotonicMs } from './monotonic.js';
import { OpenDoorStore } from './open-door.store.js';
import { report, serve } from './worker-port.js';

/** What became of one call. */
export interface CallResult {
  readonly outcome: 'done' | 'refused';
  readonly ms: number;
}

export interface JobOrder {
  readonly name: string;
  readonly waitTimeMs: number;
  readonly workMs: number;
}

const store = process.env['LOCK'] === 'off' ? new OpenDoorStore() : undefined;
const app = await NestFactory.createApplicationContext(
  AppModule.forConfig(configFromEnvironment(), store),
  { logger: ['error', 'warn'] },
);
const locks = app.get(DistributedLockService);

// Connections are opened before the race, not during it.
await Promise.all(Array.from({ length: 4 }, () => app.get(DataSource).query('SELECT 1')));

async function timed(call: Promise<unknown>): Promise<CallResult> {
  const startedAt = monotonicMs();
  try {
    await call;
    return { outcome: 'done', ms: monotonicMs() - startedAt };
  } catch (error) {
    // "Too late" is an answer of the service; anything else is a failure of the demo.
    if (!(error instanceof HttpException) || error.getStatus() !== 409) throw error;
    return { outcome: 'refused', ms: monotonicMs() - startedAt };
  }
}

/** One of the ten workers: takes `job1`, works, lets go; or gives up when its wait time is over. */
async function job({ name, waitTimeMs, workMs }: JobOrder): Promise<void> {
  report('attempted', { name });
  try {
    await locks.withLock('job1', { waitTime: waitTimeMs }, async () => {
      report('acquired', { name });
      await pause(workMs);
      report('released', { name });
    });
  } catch (error) {
    if (!(error instanceof LockWaitTimeoutError)) throw error;
    report('failed', { name });
  }
}

serve(
  {
    cancel: (id: string) => timed(app.get(ApplicationCancelService).cancel(id)),
    submit: (id: string) => timed(app.get(QuoteSubmitService).submit(id, 'Kim', 1_000)),
    job,
  },
  () => app.close(),
);
