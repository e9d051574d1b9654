/** What a node is for. A container is removed by the server some time after its last child. */
export type NodeKind = 'persistent' | 'container' | 'ephemeral-sequential';

export interface NodeStat {
  /** Number of the transaction that made the node; it grows over all nodes of the ensemble. */
  readonly czxid: bigint;
}

export interface CreatedNode extends NodeStat {
  /** With the sequence number that the server has added. */
  readonly path: string;
}

/** `session-ended` is told to every watch that is left when the session is over. */
export type WatchEvent = 'changed' | 'deleted' | 'session-ended';
export type WatchListener = (event: WatchEvent) => void;

/**
 * - `expired`: the server said so
 * - `auth-failed`: the server does not accept the credentials; no later session would fare better
 * - `closed`: by this process
 */
export type SessionEnd = 'expired' | 'auth-failed' | 'closed';

/** What a session tells the store by itself. Called before the operations that the event fails are rejected. */
export interface SessionListener {
  /** No connection now; the session may live on. */
  suspended(): void;
  /** The session is over, and every ephemeral node of it with it. Nothing is told after that. */
  ended(reason: SessionEnd): void;
}

/**
 * The port to ZooKeeper: one session, which may move from connection to connection and from server to server.
 *
 * Paths are absolute, below the chroot. Operations are executed in the order in which they are called. They are sent at once or
 * rejected at once, and settle in bounded time; they reject with `ZooKeeperError`:
 *
 * - `ConnectionLoss`: not connected, or the connection was lost before the answer; the server may have executed it
 * - `SessionExpired`: the session is over
 * - the server's own code otherwise (`NoNode`, `NodeExists`, `NoAuth`, …); nothing was changed
 */
export interface ZooKeeperSession {
  /** Why the server cannot be reached; `null` while it can. */
  readonly trouble: string | null;

  /**
   * Until when the session certainly lives on the server, on the scale of `distributed-lock.clock.ts`; moves with every answer that
   * proves it. In the past once the session has ended.
   */
  readonly validUntil: number;

  /** @throws {ZooKeeperError} `SessionExpired` or `AuthFailed` when the session ends instead. */
  whenConnected(): Promise<void>;

  create(path: string, kind: NodeKind): Promise<CreatedNode>;
  delete(path: string): Promise<void>;
  stat(path: string): Promise<NodeStat>;

  /** @returns names, in no order. */
  getChildren(path: string): Promise<readonly string[]>;

  /**
   * Tells the listener once about the next change of an existing node. Nothing is left behind on the server where it rejects.
   * Survives a lost connection: what happened meanwhile is told after it.
   */
  watch(path: string, listener: WatchListener): Promise<void>;

  /** The listener is not told any more. */
  unwatch(path: string, listener: WatchListener): void;

  /**
   * A round trip to the leader: afterwards `validUntil` is as late as it can be, and reads see everything that was committed before.
   */
  confirm(): Promise<void>;

  /** Ends the session on the server, and with it every ephemeral node. Takes at most a second. */
  close(): Promise<void>;

  /** Cuts the connection and leaves the session to its timeout. */
  drop(): void;
}
