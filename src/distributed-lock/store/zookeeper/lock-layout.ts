import { type Directories } from './directories.js';
import { inQueueOrder, type QueuePrefix } from './queue-order.js';
import { joinQueue, overLosses, type QueueNode } from './queue-node.js';
import { hasCode, ZooKeeperError } from './zookeeper.errors.js';
import type { ZooKeeperSession } from './zookeeper.session.js';

/** One call's way to a key within one session, as a layout sees it. */
export interface Attempt {
  readonly session: ZooKeeperSession;
  readonly directories: Directories;
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
 * Curator's InterProcessMutex: the first node in the directory is the lock, and each of the others watches the one before it, so that
 * a release wakes exactly one waiter.
 */
export async function mutexLayout(attempt: Attempt, path: string): Promise<QueueNode | null> {
  const node = await join(attempt, path, 'lock-');
  return (await hasTurn(attempt, path, node, 'lock-')) ? node : null;
}

/**
 * Curator's InterProcessSemaphoreMutex: waiters queue in `locks`, and the first of them makes a node in `leases`. The first node there is the
 * lock.
 *
 * Curator itself waits until its lease is the *only* one. Both rules exclude each other: a lease that was ever alone has none before
 * it that lives, and a lease that comes later never becomes the first. But two that wait to be alone wait for each other for ever: so
 * it is where somebody removes the place of one of them by hand, and `locks` lets the next one through.
 */
export async function semaphoreMutexLayout(
  attempt: Attempt,
  path: string,
): Promise<QueueNode | null> {
  const [locks, leases] = [`${path}/locks`, `${path}/leases`];
  const place = await join(attempt, locks, 'lock-');
  if (!(await hasTurn(attempt, locks, place, 'lock-'))) return null;
  const lease = await join(attempt, leases, 'lease-');
  return (await hasTurn(attempt, leases, lease, 'lease-')) ? lease : null;
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

/** Waits until a node is the first of its queue; `false` where the call only tries and it is not. */
async function hasTurn(
  attempt: Attempt,
  directory: string,
  { name }: QueueNode,
  prefix: QueuePrefix,
): Promise<boolean> {
  const { session, signal } = attempt;
  for (;;) {
    const queue = inQueueOrder(await list(session, directory), prefix);
    attempt.queued();
    signal.throwIfAborted();
    const index = queue.indexOf(name);
    if (index < 0) throw new ZooKeeperError('QueueNodeGone', `list ${directory}`);
    if (index === 0) return true;
    if (attempt.tries) return false;
    await changeOf(session, `${directory}/${queue[index - 1]!}`, signal);
  }
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
