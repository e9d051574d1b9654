import type { Holder, KeyState } from '../lock-store.js';
import type { HoldingNode, LockView } from './lock-view.js';
import { overLosses } from './queue-node.js';
import { hasCode } from './zookeeper.errors.js';
import type { ZooKeeperSession } from './zookeeper.session.js';

/** Who holds the lock in a directory; the server that is asked has seen all that was committed before. */
export async function stateOf(
  session: ZooKeeperSession,
  view: LockView,
  path: string,
): Promise<KeyState> {
  return overLosses(session, async () => {
    await session.confirm();
    const { holding, waiting } = await view(session, path);
    const holders = await Promise.all(holding.map((node) => holderOf(session, node)));
    return {
      holders: holders.filter((holder) => holder !== null),
      waiters: waiting,
      keptForMs: null,
    };
  });
}

/** Removes the nodes that hold the lock: their watches tell the holders, and the next in the queue. @returns how many. */
export async function endHolds(
  session: ZooKeeperSession,
  view: LockView,
  path: string,
): Promise<number> {
  // Once they are listed, the same nodes are meant however often they have to be asked for.
  const { holding } = await overLosses(session, async () => {
    await session.confirm();
    return view(session, path);
  });
  const removed = await Promise.all(holding.map((node) => remove(session, node)));
  return removed.filter(Boolean).length;
}

async function holderOf(
  session: ZooKeeperSession,
  { path, name, isShared }: HoldingNode,
): Promise<Holder | null> {
  if (isShared) return { owner: name, mode: 'shared', fencingToken: null, leaseLeftMs: null };
  try {
    const { czxid } = await session.stat(path);
    return { owner: name, mode: 'exclusive', fencingToken: czxid, leaseLeftMs: null };
  } catch (error) {
    if (hasCode(error, 'NoNode')) return null; // released between the two questions
    throw error;
  }
}

/** @returns `false` if it had gone already. */
async function remove(session: ZooKeeperSession, { path }: HoldingNode): Promise<boolean> {
  try {
    await overLosses(session, () => session.delete(path));
    return true;
  } catch (error) {
    if (hasCode(error, 'NoNode')) return false;
    throw error;
  }
}
