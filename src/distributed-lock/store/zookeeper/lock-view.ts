import { inQueueOrder, type QueuePlace } from './queue-order.js';
import { hasCode } from './zookeeper.errors.js';
import type { ZooKeeperSession } from './zookeeper.session.js';

/** A node that is the lock, or one of several that share it. */
export interface HoldingNode extends QueuePlace {
  readonly path: string;
}

/** Which nodes of a key hold it, and how many wait. */
export interface LockNodes {
  readonly holding: readonly HoldingNode[];
  readonly waiting: number;
}

/**
 * Looks at the nodes of a lock as its layout reads them.
 *
 * @param path the directory of the key.
 */
export type LockView = (session: ZooKeeperSession, path: string) => Promise<LockNodes>;

/** One queue for all: see `queueLayout`. */
export const queueView: LockView = async (session, path) => {
  const queue = await placesIn(session, path);
  const holding = holdingOf(path, queue);
  return { holding, waiting: queue.length - holding.length };
};

/** `locks` are those who wait for a lease, and for a moment whoever has just got one; `leases` are the lock. */
export const semaphoreMutexView: LockView = async (session, path) => {
  const leases = `${path}/leases`;
  const [waiting, queue] = [
    await placesIn(session, `${path}/locks`),
    await placesIn(session, leases),
  ];
  const holding = holdingOf(leases, queue);
  return { holding, waiting: waiting.length + queue.length - holding.length };
};

/** The first, or the shared ones that nobody else is before. */
function holdingOf(directory: string, queue: readonly QueuePlace[]): readonly HoldingNode[] {
  const firstAlone = queue.findIndex(({ isShared }) => !isShared);
  const inside = firstAlone < 0 ? queue.length : Math.max(firstAlone, 1);
  return queue.slice(0, inside).map((place) => ({ ...place, path: `${directory}/${place.name}` }));
}

async function placesIn(
  session: ZooKeeperSession,
  directory: string,
): Promise<readonly QueuePlace[]> {
  try {
    return inQueueOrder(await session.getChildren(directory));
  } catch (error) {
    if (hasCode(error, 'NoNode')) return []; // never used, or not for a while
    throw error;
  }
}
