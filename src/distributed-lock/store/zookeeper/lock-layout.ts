import { type Directories } from './directories.js';
import { inQueueOrder, type QueuePlace, type QueuePrefix } from './queue-order.js';
import { joinQueue, overLosses, type QueueNode } from './queue-node.js';
import { hasCode, ZooKeeperError } from './zookeeper.errors.js';
import type { ZooKeeperSession } from './zookeeper.session.js';

/** One call's way to a key within one session, as a layout sees it. */
export interface Attempt {
  readonly session: ZooKeeperSession;
  readonly directories: Directories;
  /** Tolerates other shared ones; else wants to be alone. */
  readonly isShared: boolean;
  /** Gives up as soon as somebody is in the way. */
  readonly tries: boolean;
  /** The caller has left: nothing is waited for any more. */
  readonly signal: AbortSignal;
  /** Every node that was made. The one that is returned stays; the caller of the layout removes the others. */
  readonly nodes: Set<QueueNode>;
  /** ZooKeeper has said where this call stands. */
  queued(): void;
}

/**
 * Which nodes make a lock.
 *
 * @param path the directory of the key.
 * @returns the node that is the lock, or `null` where the call only tries and somebody is in the way.
 * @throws the signal's reason; {@link ZooKeeperError} `SessionExpired` or `QueueNodeGone`, after which a new attempt may be made.
 */
export type LockLayout = (attempt: Attempt, path: string) => Promise<QueueNode | null>;

/**
 * One queue for all: the first node in the directory is the lock, and each of the others watches the one before it, so that a release
 * wakes exactly one waiter. A shared one goes as soon as none but shared ones are before it, and watches the last that is not.
 *
 * Nodes of any recipe keep their place: whoever chose another layout of this kind is excluded all the same.
 */
function queueLayout(exclusive: QueuePrefix, shared: QueuePrefix): LockLayout {
  return async (attempt, path) => {
    const { isShared } = attempt;
    const node = await join(attempt, path, isShared ? shared : exclusive);
    return (await hasTurn(attempt, path, node, isShared)) ? node : null;
  };
}

/** Curator's InterProcessMutex, and shared nodes that it waits for as for its own. */
export const mutexLayout = queueLayout('lock-', 'shared-lock-');

/** Curator's InterProcessReadWriteLock. It looks at nothing but its own names, and an InterProcessMutex at none of them. */
export const readWriteLayout = queueLayout('__WRIT__', '__READ__');

/**
 * Curator's InterProcessSemaphoreMutex: waiters queue in `locks`, and the first of them makes a node in `leases`. The first node there is the
 * lock. Shared ones pass through both together.
 *
 * Curator itself waits until its lease is the *only* one. Both rules exclude each other: a lease that was ever alone has none before
 * it that lives, and a lease that comes later never becomes the first. But two that wait to be alone wait for each other for ever: so
 * it is where somebody removes the place of one of them by hand, and `locks` lets the next one through.
 */
export async function semaphoreMutexLayout(
  attempt: Attempt,
  path: string,
): Promise<QueueNode | null> {
  const { isShared } = attempt;
  const [locks, leases] = [`${path}/locks`, `${path}/leases`];
  const place = await join(attempt, locks, isShared ? 'shared-lock-' : 'lock-');
  if (!(await hasTurn(attempt, locks, place, isShared))) return null;
  const lease = await join(attempt, leases, isShared ? 'shared-lease-' : 'lease-');
  return (await hasTurn(attempt, leases, lease, isShared)) ? lease : null;
}

async function join(
  { directories, session, nodes }: Attempt,
  directory: string,
  prefix: QueuePrefix,
): Promise<QueueNode> {
  const node = await joinQueue(directories, session, directory, prefix);
  nodes.add(node);
  return node;
}

/** Waits until nobody is in the way of a node; `false` where the call only tries and somebody is. */
async function hasTurn(
  attempt: Attempt,
  directory: string,
  { name }: QueueNode,
  isShared: boolean,
): Promise<boolean> {
  const { session, signal } = attempt;
  for (;;) {
    const queue = inQueueOrder(await list(session, directory));
    attempt.queued();
    signal.throwIfAborted();
    const index = queue.findIndex((place) => place.name === name);
    if (index < 0) throw new ZooKeeperError('QueueNodeGone', `list ${directory}`);
    const inTheWay = lastInTheWay(queue.slice(0, index), isShared);
    if (!inTheWay) return true;
    if (attempt.tries) return false;
    await changeOf(session, `${directory}/${inTheWay.name}`, signal);
  }
}

/** Of those that must go first, the last: nothing changes for the node before that one has gone. */
function lastInTheWay(before: readonly QueuePlace[], isShared: boolean): QueuePlace | undefined {
  return isShared ? before.findLast((place) => !place.isShared) : before.at(-1);
}

async function list(session: ZooKeeperSession, directory: string): Promise<readonly string[]> {
  try {
    return await overLosses(session, () => session.getChildren(directory));
  } catch (error) {
    if (hasCode(error, 'NoNode')) return []; // removed by hand, and our node with it
    throw error;
  }
}

/** Resolves when there is reason to look again: the node has changed or is gone, the connection was lost, the session is over, or the signal. */
function changeOf(session: ZooKeeperSession, path: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      signal.removeEventListener('abort', look);
      session.unwatch(path, look);
    };
    const look = (): void => {
      leave();
      resolve();
    };
    signal.addEventListener('abort', look);
    session.watch(path, look).catch((error: unknown) => {
      if (hasCode(error, 'NoNode', 'ConnectionLoss', 'SessionExpired')) return look();
      leave();
      reject(error);
    });
  });
}
