import type { Network } from '../support/network.js';
import type { FaultBackend, FaultWorld } from './fault.contract.js';
import type { StoreWorld } from './lock-store.contract.js';

type Parts = Pick<FaultWorld, 'worker' | 'takes' | 'givesBack' | 'evict' | 'network' | 'behind'>;

const absent = (what: string) => (): never => {
  throw new Error(`This store has no ${what}; the clause has to say that it needs one.`);
};

/** A world with a network in front of its servers. `close` mends it first: what is held is given back. */
export function networked(
  world: StoreWorld,
  network: Network,
  parts: Omit<Parts, 'network'>,
): FaultWorld {
  return {
    namespace: world.namespace,
    store: () => world.store(),
    network,
    ...parts,
    async close() {
      await network.pass();
      await world.close();
      await network.close();
    },
  };
}

/** A world without a server: nothing lies between a store and its locks. */
export function local(world: StoreWorld, worker: FaultWorld['worker']): FaultWorld {
  return {
    worker,
    namespace: world.namespace,
    store: () => world.store(),
    behind: () => world.store(),
    get network(): never {
      return absent('network')();
    },
    takes: absent('network'),
    givesBack: absent('network'),
    evict: absent('operator'),
    close: () => world.close(),
  };
}

/** A backend of leases, and of nothing else. */
export const NOTHING = {
  ownership: 'lease',
  connections: 0,
  keepsHolds: false,
  restart: absent('server'),
  colliding: absent('collisions'),
  refusals: absent('set-up'),
  stop: async () => undefined,
} satisfies Partial<FaultBackend>;
