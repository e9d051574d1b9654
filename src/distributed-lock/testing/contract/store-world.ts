import { randomUUID } from 'node:crypto';
import type { LockStore } from '../../store/lock-store.js';

/** One backend, seen by several stores as if each were a process of its own. A world of its own for each clause. */
export interface StoreWorld {
  readonly namespace: string;
  /** Another store on the same backend and namespace, opened. */
  store(): Promise<LockStore>;
  /**
   * Resolves when so many calls wait for the one key in use. Needed by stores that promise order over all processes (traits `fair: 'fifo'`
   * and `reach: 'server'`), so that the order of arrival is known.
   */
  queued?(waiters: number): Promise<void>;
  /** Closes every store, also those that a clause has closed, and takes away what the world left in the backend. */
  close(): Promise<void>;
}

const OPEN_MS = 5_000;

/**
 * A {@link StoreWorld} under a random namespace.
 *
 * @param make a new store on the backend, not opened.
 * @param options `close`: runs after the last store has closed; `queued`: see {@link StoreWorld.queued}.
 */
export function storeWorld(
  make: () => LockStore,
  options: { readonly close?: () => unknown; readonly queued?: StoreWorld['queued'] } = {},
): StoreWorld {
  const { close, queued } = options;
  const namespace = `contract-${randomUUID().slice(0, 8)}`;
  const stores: LockStore[] = [];
  return {
    namespace,
    ...(queued && { queued }),
    async store() {
      const store = make();
      stores.push(store);
      await store.open(namespace, OPEN_MS);
      return store;
    },
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await close?.();
    },
  };
}
