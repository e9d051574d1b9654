/** A store in a process of its own, without Nest: to be killed and frozen. */
import { lockKey } from '../../../dist/distributed-lock/key/lock-key.js';
import { now } from '../../../dist/distributed-lock/distributed-lock.clock.js';
import { report, serve } from '../../../dist/example/demo/worker-port.js';

const FACTORIES = {
  postgres: async () => (await import('nestjs-distributed-lock/postgres')).postgresStore,
  mysql: async () => (await import('nestjs-distributed-lock/mysql')).mysqlStore,
  table: async () => (await import('nestjs-distributed-lock/table')).tableStore,
};

let store;
const grants = new Map();

async function open({ kind, options, namespace }) {
  store = (await FACTORIES[kind]())(options);
  await store.open(namespace, 5_000);
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

const close = async () => store?.close();

serve({ open, take, look, release, close }, close);
