import { randomUUID } from 'node:crypto';
import type { Directories } from './directories.js';
import type { QueuePrefix } from './queue-order.js';
import { hasCode } from './zookeeper.errors.js';
import type { CreatedNode, ZooKeeperSession } from './zookeeper.session.js';

/** A node of this process in a queue. It ends with its session at the latest. */
export class QueueNode {
  readonly path: string;
  readonly czxid: bigint;

  constructor(
    readonly session: ZooKeeperSession,
    { path, czxid }: CreatedNode,
  ) {
    this.path = path;
    this.czxid = czxid;
  }

  get name(): string {
    return this.path.slice(this.path.lastIndexOf('/') + 1);
  }

  /**
   * @returns `false` if the node was gone already.
   * @throws {ZooKeeperError} `ConnectionLoss` if the server cannot be told now; it is told as soon as it can be.
   */
  async remove(): Promise<boolean> {
    try {
      await this.session.delete(this.path);
      return true;
    } catch (error) {
      if (hasCode(error, 'NoNode', 'SessionExpired')) return false;
      if (hasCode(error, 'ConnectionLoss')) void this.#removeLater();
      throw error;
    }
  }

  /** Until it is done, or the session is over and the node with it. Never rejects. */
  async #removeLater(): Promise<void> {
    try {
      await this.session.whenConnected();
      await this.session.delete(this.path);
    } catch (error) {
      if (hasCode(error, 'ConnectionLoss')) await this.#removeLater();
    }
  }
}

/**
 * Takes a place at the end of a queue. Never leaves a node behind that nobody knows of: its name has an id of its own, by which it is found
 * again when the answer was lost (Curator's "protection", https://curator.apache.org/docs/tech-note-9).
 */
export async function joinQueue(
  directories: Directories,
  session: ZooKeeperSession,
  directory: string,
  prefix: QueuePrefix,
): Promise<QueueNode> {
  const mark = `_c_${randomUUID()}-`;
  for (;;) {
    try {
      const path = `${directory}/${mark}${prefix}`;
      return new QueueNode(session, await session.create(path, 'ephemeral-sequential'));
    } catch (error) {
      if (hasCode(error, 'NoNode')) {
        await overLosses(session, () => directories.make(directory));
      } else if (hasCode(error, 'ConnectionLoss')) {
        const made = await overLosses(session, () => find(session, directory, mark));
        if (made) return new QueueNode(session, made);
      } else {
        throw error;
      }
    }
  }
}

/** Repeats an operation that may be repeated, whenever the connection is back. */
export async function overLosses<T>(
  session: ZooKeeperSession,
  operation: () => Promise<T>,
): Promise<T> {
  for (;;) {
    try {
      await session.whenConnected();
      return await operation();
    } catch (error) {
      if (!hasCode(error, 'ConnectionLoss')) throw error;
    }
  }
}

async function find(
  session: ZooKeeperSession,
  directory: string,
  mark: string,
): Promise<CreatedNode | null> {
  await session.confirm(); // another server may answer now: first it must know what the last one did
  try {
    const name = (await session.getChildren(directory)).find((it) => it.startsWith(mark));
    if (name === undefined) return null;
    const path = `${directory}/${name}`;
    return { path, ...(await session.stat(path)) };
  } catch (error) {
    if (hasCode(error, 'NoNode')) return null;
    throw error;
  }
}
