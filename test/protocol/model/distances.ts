import { QueueingLockStore } from '../../../src/distributed-lock/store/queueing.lock-store.js';
import { ModelBackend } from './model-network.js';
import { ALL_RULES, KEY, ModelServer, type Rules } from './model-server.js';
import { Chance, VirtualTime } from './virtual-time.js';

/**
 * A process next to the server asks again as soon as it has released; another one, far away, waits.
 *
 * @returns how often the near one went first before the far one had its turn; `Infinity` if it never had.
 */
export async function grantsBeforeTheFarOne(rules: Partial<Rules>): Promise<number> {
  const time = new VirtualTime();
  const uninstall = time.install();
  const server = new ModelServer(() => time.now, { ...ALL_RULES, ...rules });
  const backends = new Map<string, ModelBackend>();
  server.publish = (id, offer) => backends.get(id)!.wake(offer);
  const open = async (id: string, delayMs: number): Promise<QueueingLockStore> => {
    const backend = new ModelBackend(id, server, time, new Chance(1), {
      delayMs: () => delayMs,
      slow: 0,
    });
    backends.set(id, backend);
    const store = new QueueingLockStore(backend, id);
    await store.open('model', 1_000);
    return store;
  };
  try {
    const [near, far] = [await open('near', 0.1), await open('far', 20)];
    let passes = 0;
    const arrived = { far: false };
    const request = { key: KEY, leaseTimeMs: 60_000, waitTimeMs: 600_000 };
    const loop = async (): Promise<void> => {
      while (!arrived.far) {
        const grant = await near.acquire(request);
        passes += 1;
        await time.sleep(2);
        await near.release(grant!);
      }
    };
    void loop();
    void time
      .sleep(1)
      .then(() => far.acquire(request))
      .then(() => (arrived.far = true));
    while (!arrived.far && time.now < 10_000) await time.step();
    return arrived.far ? passes : Infinity;
  } finally {
    uninstall();
  }
}
