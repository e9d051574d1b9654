import { describe, it } from 'vitest';
import type { StoreTraits } from '../../src/distributed-lock/store/lock-store.js';
import { runContract } from '../../src/distributed-lock/testing/contract/run-contract.js';
import type { StoreWorld } from '../../src/distributed-lock/testing/contract/store-world.js';

export {
  type Clause,
  freshKey,
  request,
  take,
} from '../../src/distributed-lock/testing/contract/clause.js';
export {
  appliesTo,
  CONTRACT,
  titleOf,
} from '../../src/distributed-lock/testing/contract/contract.js';
export type { StoreWorld } from '../../src/distributed-lock/testing/contract/store-world.js';

/** Declares a test per clause that the store's traits promise. The clauses are those that are published: `runContract`. */
export function describeLockStore(
  name: string,
  open: () => Promise<StoreWorld>,
  traits: StoreTraits,
): void {
  runContract({ name, traits, open, describe, it });
}
