/** A ZooKeeper store in a process of its own, without Nest: to be killed and frozen, and for the story of the ten workers. */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { zookeeperStore } from 'nestjs-distributed-lock/zookeeper';
import { now } from '../../../dist/distributed-lock/distributed-lock.clock.js';
import { lockKey } from '../../../dist/distributed-lock/key/lock-key.js';
import { monotonicMs } from '../../../dist/example/demo/monotonic.js';
import { report, serve } from '../../../dist/example/demo/worker-port.js';

let store;
const grants = new Map();

async function open({ options, namespace }) {
  store = zookeeperStore(options);
  await store.open(namespace, 10_000);
}

async function take({ key, leaseTimeMs = 10_000, waitTimeMs = 10_000 }) {
  const grant = await store.acquire({ key: lockKey(key), leaseTimeMs, waitTimeMs });
  if (!grant) return null;
  grants.set(key, grant);
  grant.onLost = (reason) => report('lost', { key, reason });
  return { token: grant.fencingToken };
}

/** Whether this process believes that it holds the key. */
const look = (key) => grants.get(key).validUntil > now();

const release = (key) => store.release(grants.get(key));

/** The resource of the story: it fails when somebody is inside already. The file system sees all processes. */
async function useResource(file) {
  closeSync(openSync(file, 'wx'));
  await pause(20);
  unlinkSync(file);
}

/** @returns when this worker asked, when it got the lock, and when it gave it back. */
async function work({ key, file, locked = true }) {
  const attemptAt = monotonicMs();
  const grant = locked
    ? await store.acquire({ key: lockKey(key), leaseTimeMs: 10_000, waitTimeMs: 30_000 })
    : null;
  const acquireAt = monotonicMs();
  await useResource(file);
  const leaseAt = monotonicMs();
  if (grant) await store.release(grant);
  return { attemptAt, acquireAt, leaseAt, token: grant?.fencingToken ?? null };
}

const close = async () => store?.close();

serve({ open, take, look, release, work, close }, close);
