import { DistributedLockExecutor } from '../../src/distributed-lock/distributed-lock.executor.js';
import { LockEvents, type LockEvent } from '../../src/distributed-lock/distributed-lock.events.js';
import type { ResolvedTimes } from '../../src/distributed-lock/distributed-lock.options.js';
import { lockKeys } from '../../src/distributed-lock/key/lock-key.js';
import type { Hold } from '../../src/distributed-lock/lock/hold.js';
import { LockManager } from '../../src/distributed-lock/lock/lock-manager.js';
import type { ManagedHold } from '../../src/distributed-lock/lock/managed-hold.js';
import type { Admission, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { MemoryWorld } from '../../src/distributed-lock/store/memory/memory.world.js';
import { memoryStoreIn } from '../../src/distributed-lock/store/memory/memory.lock-store.js';

export const TIMES: ResolvedTimes = { waitTimeMs: 1_000, leaseTimeMs: 3_000, renew: true };

export type { Hold };

/** A manager, what happened in it, and short ways to use it. */
export class Managed<Store extends LockStore = LockStore> {
  readonly events = new LockEvents();
  readonly happened: LockEvent[] = [];
  readonly manager: LockManager;

  constructor(readonly store: Store) {
    this.manager = new LockManager(store, this.events);
    this.events.on((event) => this.happened.push(event));
  }

  /** Types of the events, without the attempts. */
  get types(): readonly string[] {
    return this.happened.map((it) => it.type).filter((type) => type !== 'attempted');
  }

  enter(
    keys: string | readonly string[],
    times: Partial<ResolvedTimes> = {},
    signal?: AbortSignal,
    admission?: Admission,
  ): Promise<ManagedHold> {
    return this.manager.enter(lockKeys(keys), { ...TIMES, ...times }, signal, admission);
  }

  /** Enters, runs the work as the inside of the hold, and ends it, as the flow of a locked call does. */
  async locked<T>(
    keys: string | readonly string[],
    work: (hold: ManagedHold) => Promise<T>,
    times: Partial<ResolvedTimes> = {},
  ): Promise<T> {
    const hold = await this.enter(keys, times);
    try {
      return await this.manager.inside(hold, () => work(hold));
    } finally {
      await hold.end();
    }
  }

  /** The whole flow of a locked call, without a transaction. */
  called<T>(
    keys: string | readonly string[],
    proceed: (hold: Hold) => Promise<T>,
    times: Partial<ResolvedTimes> = {},
  ): Promise<T> {
    return new DistributedLockExecutor(this.manager, null).execute({
      method: 'a spec',
      keys: lockKeys(keys),
      times: { ...TIMES, ...times },
      args: [],
      transaction: null,
      onTimeout: 'throw',
      proceed,
    });
  }
}

/** Managers that share their locks, each as if it were a process of its own. */
export async function inOneWorld(count: number): Promise<readonly Managed[]> {
  const world = new MemoryWorld();
  const stores = Array.from({ length: count }, () => memoryStoreIn(world));
  await Promise.all(stores.map((store) => store.open('test', 1_000)));
  return stores.map((store) => new Managed(store));
}

export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

/** A promise that the test resolves. */
export function gate(): Gate {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** The error of a promise whose failure is looked at later; handled from now on. */
export function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('It was expected to fail.');
    },
    (error: unknown) => error,
  );
}
