import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type {
  AcquireRequest,
  LockGrant,
  LockStore,
} from '../../src/distributed-lock/store/lock-store.js';
import { ensureBuilt } from '../support/build.js';
import * as broken from './broken-stores.js';
import { FAULT_CONTRACT, type FaultBackend, type FaultWorld, openFor } from './fault.contract.js';
import { redisFaults } from './fault-backends.js';

/** A connection that is lost takes the waiters with it. */
class LosesWaiters extends broken.HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, waitTimeMs: Math.min(request.waitTimeMs, 5) });
  }
}

/** It lives for a second, and nobody keeps it alive. */
class HasNoHeartbeat extends broken.HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, leaseTimeMs: 1_000 });
  }
}

type Change = (backend: FaultBackend) => FaultBackend;

/** All stores of a world, behind the network or not, are broken in this way. */
function storesThat(Store: new (inner: LockStore, shared: broken.Shared) => LockStore): Change {
  return changesWorlds((world) => {
    const shared = new broken.Shared();
    return {
      store: async () => new Store(await world.store(), shared),
      behind: async () => new Store(await world.behind(), shared),
    };
  });
}

function changesWorlds(change: (world: FaultWorld) => Partial<FaultWorld>): Change {
  return (backend) => ({
    ...backend,
    async open(sessionTimeout) {
      const world = await backend.open(sessionTimeout);
      return { ...world, ...change(world) };
    },
  });
}

/** What happens in the worker process: see `store-worker.mjs` and `store-exit.mjs`. */
const processThat = (breaks: string): Change =>
  changesWorlds(({ worker }) => ({ worker: { ...worker, breaks } }));

/** A connection for each of the first callers. */
const connectsForEachCaller = changesWorlds((world) => ({
  async behind() {
    const stores = await Promise.all(Array.from({ length: 5 }, () => world.behind()));
    let next = 0;
    const [store] = stores;
    return Object.assign(Object.create(store!) as LockStore, {
      acquire: (request: AcquireRequest) => stores[next++ % 5]!.acquire(request),
    });
  },
}));

const acceptsAnySetUp: Change = (backend) => ({
  ...backend,
  refusals: () => [{ store: backend.colliding(), says: /./ }],
});

const CAUGHT: readonly (readonly [string, Change, number])[] = [
  ['has no heartbeat', storesThat(HasNoHeartbeat), 10],
  ['believes in what it had before a partition', storesThat(broken.NeverEndsLeases), 12],
  ['loses the waiters of a lost connection', storesThat(LosesWaiters), 13],
  ['grants with a lower token after an operator', storesThat(broken.LowersTokens), 14],
  ['gives up a caller whose connection was lost', storesThat(LosesWaiters), 17],
  ['frees the successor by a second release', storesThat(broken.ReleasesForAnybody), 18],
  ['leaves what it held when it dies', processThat('outlives'), 19],
  ['believes in what it had before it was frozen', processThat('believes'), 20],
  ['counts by the wall clock', processThat('counts'), 21],
  ['opens a connection for each caller', connectsForEachCaller, 22],
  ['gives colliding keys to two', (backend) => backend, 24],
  ['repeats a token over a restart', storesThat(broken.RepeatsTokens), 25],
  ['grants everybody', storesThat(broken.GrantsEverybody), 25],
  ['keeps its process alive', processThat('lingers'), 26],
  ['accepts any set-up', acceptsAnySetUp, 27],
  ['remembers every key', processThat('remembers'), 29],
];

describe.skipIf(!inject('canStartRedis'))('the fault contract catches a store that', () => {
  let backend: FaultBackend;
  beforeAll(async () => {
    await ensureBuilt();
    const redis = await redisFaults();
    backend = { ...redis, colliding: redis.unopened };
  });
  afterAll(() => backend?.stop());

  it.concurrent.each(CAUGHT.filter(([, , item]) => item !== 25))('%s', (_name, change, item) =>
    isCaught(change, item),
  );
  // The server is taken away from others.
  it.each(CAUGHT.filter(([, , item]) => item === 25))('%s', (_name, change, item) =>
    isCaught(change, item),
  );

  async function isCaught(change: Change, item: number): Promise<void> {
    const changed = change(backend);
    const failures: unknown[] = [];
    for (const clause of FAULT_CONTRACT.filter((it) => it.item === item)) {
      const world = await openFor(clause, changed);
      await clause.check(world, changed).catch((error: unknown) => failures.push(error));
      await world.close();
    }
    expect(failures).not.toEqual([]);
  }

  it('breaks any of its promises', () => {
    const proven = new Set(CAUGHT.map(([, , item]) => item));
    expect(FAULT_CONTRACT.map(({ item }) => item).filter((it) => !proven.has(it))).toEqual([]);
  });
});
