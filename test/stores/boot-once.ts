import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, take } from '../contract/lock-store.contract.js';

/** Opens the store, locks once and closes it. @throws what `open` throws. */
export async function bootOnce(store: LockStore): Promise<void> {
  try {
    await store.open('boot', 5_000);
    await store.release(await take(store, freshKey()));
  } finally {
    await store.close();
  }
}
