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
  return (await hasTurn(attempt, path, node, 'lock-', predecessor)) ? node : null;
}

/**
 * Curator's InterProcessSemaphoreMutex: waiters queue in `locks`, and the first of them may make the node in `leases` that is the
 * lock. It has it when it is alone there.
 */
export async function semaphoreMutexLayout(
  attempt: Attempt,
  path: string,
): Promise<QueueNode | null> {
  const [locks, leases] = [`${path}/locks`, `${path}/leases`];
  const place = await join(attempt, locks, 'lock-');
  if (!(await hasTurn(attempt, locks, place, 'lock-', predecessor))) return null;
  const lease = await join(attempt, leases, 'lease-');
  return (await hasTurn(attempt, leases, lease, 'lease-', anyOther)) ? lease : null;
}

/** Who is in the way of a node: a name, or `undefined` for nobody. */
type InTheWay = (queue: readonly string[], own: string) => string | undefined;

const predecessor: InTheWay = (queue, own) => queue[queue.indexOf(own) - 1];
const anyOther: InTheWay = (queue, own) => queue.find((name) => name !== own);

async function join(
  { directories, session, nodes }: Attempt,
  directory: string,
  prefix: QueuePrefix,
): Promise<QueueNode> {
  const node = await joinQueue(directories, session, directory, prefix);
  nodes.add(node);
  return node;
}

async function hasTurn(
  attempt: Attempt,
  directory: string,
  { name }: QueueNode,
  prefix: QueuePrefix,
  inTheWay: InTheWay,
): Promise<boolean> {
  const { session, signal } = attempt;
  for (;;) {
    const queue = inQueueOrder(await list(session, directory), prefix);
    attempt.queued();
    signal.throwIfAborted();
    if (!queue.includes(name)) throw new ZooKeeperError('QueueNodeGone', `list ${directory}`);
    const other = inTheWay(queue, name);
    if (other === undefined) return true;
    if (attempt.tries) return false;
    await changeOf(session, `${directory}/${other}`, signal);
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
