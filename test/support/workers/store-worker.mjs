/**
 * Stores in a process of their own, without Nest, one for each namespace: to be killed, frozen, set to another time and filled with keys, and
 * for the story of the ten workers.
 *
 * `open` takes `breaks` for controls: `outlives` its process, `believes` in its grants for ever, `counts` by the wall clock, `remembers` every key.
 */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { lockKey } from '../../../dist/distributed-lock/key/lock-key.js';
import { now } from '../../../dist/distributed-lock/distributed-lock.clock.js';
import { monotonicMs } from '../../../dist/example/demo/monotonic.js';
import { report, serve } from '../../../dist/example/demo/worker-port.js';
import { openStore } from './stores.mjs';

const places = new Map();
const wallClock = Date.now;

async function open({ breaks = null, ...settings }) {
  const store = await openStore(settings);
  places.set(settings.namespace, { store, breaks, grants: new Map(), remembered: [] });
}

/** @returns its token and how long it took; `null` where the key stayed busy. */
async function take({ namespace, key, leaseTimeMs = 10_000, waitTimeMs = 10_000, admission }) {
  const { store, grants, breaks } = places.get(namespace);
  const startedAt = monotonicMs();
  const leaseMs = breaks === 'outlives' ? 60_000 : leaseTimeMs;
  const request = { key: lockKey(key), leaseTimeMs: leaseMs, waitTimeMs };
  const grant = await store.acquire({ ...request, ...(admission && { admission }) });
  const tookMs = monotonicMs() - startedAt;
  if (!grant) return { granted: false, tookMs };
  grants.set(key, { grant, wallAt: Date.now(), leaseTimeMs });
  grant.onLost = (reason) => report('lost', { key, reason });
  return { granted: true, tookMs, token: grant.fencingToken };
}

/** Whether this process believes that it holds the key. */
function look({ namespace, key }) {
  const { grants, breaks } = places.get(namespace);
  const { grant, wallAt, leaseTimeMs } = grants.get(key);
  if (breaks === 'believes') return true;
  if (breaks === 'counts') return Date.now() < wallAt + leaseTimeMs;
  return grant.validUntil > now();
}

const renew = async ({ namespace, key, leaseTimeMs }) => {
  const { store, grants } = places.get(namespace);
  return store.renew([{ grant: grants.get(key).grant, leaseTimeMs }]);
};

const release = ({ namespace, key }) => {
  const { store, grants } = places.get(namespace);
  return store.release(grants.get(key).grant);
};

/** Sets the wall clock of this process off by so much. @returns what it shows, less what is true. */
function setClock(offMs) {
  Date.now = () => wallClock() + offMs;
  return Date.now() - wallClock();
}

/**
 * Takes and releases so many new keys, with so many callers at a time.
 *
 * @param room for so many callers is what a store that `remembers` keeps of every key
 * @returns the heap in use afterwards, in bytes.
 */
async function churn({ namespace, keys, callers = 5, room = 500 }) {
  const { store, breaks, remembered } = places.get(namespace);
  let left = keys;
  const caller = async () => {
    while (left > 0) {
      left -= 1;
      const key = lockKey(`churn:${process.hrtime.bigint()}:${left}`);
      const grant = await store.acquire({ key, leaseTimeMs: 30_000, waitTimeMs: 30_000 });
      // As a store would that keeps the queue of every key that it has seen, with room for its callers.
      if (breaks === 'remembers') remembered.push({ key, grant, waiters: Array(room).fill(null) });
      await store.release(grant);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  for (let n = 0; n < 3; n += 1) {
    await pause(1);
    collect();
  }
  return process.memoryUsage().heapUsed;
}

/** The resource of the story: it fails when somebody is inside already. The file system sees all processes. */
async function useResource(file) {
  closeSync(openSync(file, 'wx'));
  await pause(20);
  unlinkSync(file);
}

/** @returns when this worker asked, when it got the lock, and when it gave it back. */
async function work({ namespace, key, file, locked }) {
  const { store } = places.get(namespace);
  const attemptAt = monotonicMs();
  const request = { key: lockKey(key), leaseTimeMs: 30_000, waitTimeMs: 30_000 };
  const grant = locked ? await store.acquire(request) : null;
  const acquireAt = monotonicMs();
  await useResource(file);
  const leaseAt = monotonicMs();
  if (grant) await store.release(grant);
  return { attemptAt, acquireAt, leaseAt, token: grant?.fencingToken ?? null };
}

/**
 * Callers that want one key again and again, one in three of them alone, the others shared; with `lie` all of them ask to share.
 *
 * @returns when each was inside, on the clock that all processes share.
 */
async function race({ namespace, key, callers, rounds, lie }) {
  const { store } = places.get(namespace);
  const sections = [];
  const shared = { admission: { mode: 'shared', fair: false } };
  const visit = async (isShared) => {
    const request = { key: lockKey(key), leaseTimeMs: 10_000, waitTimeMs: 30_000 };
    const grant = await store.acquire({ ...request, ...((isShared || lie) && shared) });
    const from = monotonicMs();
    await pause(1 + Math.random() * 3);
    sections.push({ from, to: monotonicMs(), isShared, token: grant.fencingToken });
    await store.release(grant);
  };
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let round = 0; round < rounds; round += 1) await visit((caller + round) % 3 !== 0);
    }),
  );
  return sections;
}

const close = async () => {
  await Promise.all([...places.values()].map(({ store }) => store.close()));
};

serve({ open, take, look, renew, release, setClock, churn, work, race, close }, close);
