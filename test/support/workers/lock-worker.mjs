/**
 * A Nest application that locks, in a process of its own.
 *
 * `boot` starts it; holds are kept under a name that the test chooses. Reports every lock event, every `lost` signal, and what a
 * process must never see: `unhandledRejection`.
 */
import 'reflect-metadata';
import { setTimeout as pause } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { DistributedLockModule, DistributedLockService } from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';
import { monotonicMs } from '../../../dist/example/demo/monotonic.js';
import { describeError, report, serve } from '../../../dist/example/demo/worker-port.js';

let app;
let locks;
let leadership;
const holds = new Map();

process.on('unhandledRejection', (error) => report('unhandledRejection', String(error)));

async function boot({ store, shutdownHooks = false, ...options }) {
  const startedAt = monotonicMs();
  const module = DistributedLockModule.forRoot({ store: redisStore(store), ...options });
  app = await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
  if (shutdownHooks) app.enableShutdownHooks();
  locks = app.get(DistributedLockService);
  locks.events.on(({ type, key, error }) => {
    report(type, { key, ...(error && { error: describeError(error) }) });
  });
  return monotonicMs() - startedAt;
}

/** @returns the token and the moment at which this process knew that it holds the lock. */
async function acquire({ name, key, ...options }) {
  const hold = await locks.acquire(key, options);
  const at = monotonicMs();
  holds.set(name, hold);
  hold.lost.addEventListener('abort', () => {
    report('lost-signal', { name, reason: hold.lost.reason.reason });
  });
  return { at, token: hold.fencingToken, owner: hold.owner };
}

/** @returns the answer, and the moment at which the release began. */
async function release(name) {
  const at = monotonicMs();
  return { at, result: await holds.get(name).release() };
}

/** What the process believes at the first look, and what it is then told. */
function look(name) {
  const hold = holds.get(name);
  const isHeld = hold.isHeld();
  let error = null;
  try {
    hold.assertHeld();
  } catch (thrown) {
    error = describeError(thrown);
  }
  return { isHeld, error, lost: hold.lost.aborted };
}

async function renew(name) {
  await holds.get(name).renew();
}

/** Several callers, each taking the same key again and again and working under it for `stayMs`. Marks are made inside the critical section. */
async function contend({ key, callers, rounds, waitTime, stayMs = 0, options }) {
  const sections = [];
  const caller = async () => {
    for (let round = 0; round < rounds; round += 1) {
      const askedAt = monotonicMs();
      await locks.withLock(key, { waitTime, ...options }, async (hold) => {
        const from = monotonicMs();
        await (stayMs > 0 ? pause(stayMs) : new Promise(setImmediate));
        const to = monotonicMs();
        sections.push({ from, to, waitedMs: from - askedAt, token: hold.fencingToken });
      });
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return sections;
}

/** Begins a locked call that ends after a time, or with its hold; resolves when it is inside. */
function start({ key, untilMs }) {
  return new Promise((resolve) => {
    const work = async ({ lost }) => {
      resolve();
      await pause(untilMs, undefined, { signal: lost }).catch(() => undefined); // lost
      report('work-ended', { key, lost: lost.aborted ? lost.reason.reason : null });
    };
    locks.withLock(key, work).catch(() => undefined); // reported
  });
}

/** A locked call whose method notes that it ran. */
async function call({ key, ...options }) {
  const startedAt = monotonicMs();
  let ran = false;
  try {
    await locks.withLock(key, options, async () => {
      ran = true;
    });
    return { ran, error: null, tookMs: monotonicMs() - startedAt };
  } catch (error) {
    return { ran, error: describeError(error), tookMs: monotonicMs() - startedAt };
  }
}

/** Stands for election; `elected` and `deposed` are among the lock events. */
async function lead({ key, leaseTime }) {
  leadership = locks.lead(key, {
    leaseTime,
    onElected: (hold) => hold.lost.addEventListener('abort', () => report('term-ended', { key })),
  });
}

const isLeader = () => leadership.isLeader;
const resign = () => leadership.resign();

const close = async () => app?.close();

serve(
  { boot, acquire, release, look, renew, contend, call, start, lead, isLeader, resign, close },
  close,
);
