import { now } from '../../distributed-lock.clock.js';
import type { LossReason } from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type { LockGrant } from '../lock-store.js';
import type { QueueNode } from './queue-node.js';
import { hasCode } from './zookeeper.errors.js';
import type { WatchEvent } from './zookeeper.session.js';

/** Most holds are over by then, and cost no watch. */
const WATCHED_AFTER_MS = 100;

/** The key, held by a node of a session. A hold that lasts watches its node, so that it learns when somebody removes it by hand. */
export class ZooKeeperGrant implements LockGrant {
  onLost: ((reason: LossReason) => void) | null = null;
  /** Longest lease that was asked for: how long the key stays closed if the grant is abandoned. */
  leaseTimeMs: number;
  #endedAt = Infinity;
  #watching: Promise<void> | null = null;
  readonly #timer: NodeJS.Timeout;

  constructor(
    readonly key: LockKey,
    readonly node: QueueNode,
    leaseTimeMs: number,
    /** Beside others: without a fencing token. */
    readonly isShared: boolean,
    private readonly removed: (grant: ZooKeeperGrant) => void,
  ) {
    this.leaseTimeMs = leaseTimeMs;
    this.#timer = setTimeout(() => void this.watched(), WATCHED_AFTER_MS);
    this.#timer.unref();
  }

  get owner(): string {
    return this.node.name;
  }

  get fencingToken(): bigint | null {
    return this.isShared ? null : this.node.czxid;
  }

  get validUntil(): number {
    return Math.min(this.node.session.validUntil, this.#endedAt);
  }

  /** Resolves once the server was asked whether the node is still there, or could not be. From then on it tells by itself. Never rejects. */
  watched(): Promise<void> {
    return (this.#watching ??= this.#watch());
  }

  /** Over, for whatever reason. */
  end(): void {
    this.#endedAt = now();
    clearTimeout(this.#timer);
    if (this.#watching) this.node.session.unwatch(this.node.path, this.#changed);
  }

  /** Over, and the holder is told. */
  lose(reason: LossReason): void {
    this.end();
    this.onLost?.(reason);
  }

  readonly #changed = (event: WatchEvent): void => {
    if (event === 'deleted') this.#gone();
    else if (event === 'changed') this.#watching = this.#watch();
  };

  async #watch(): Promise<void> {
    const { session, path } = this.node;
    if (this.#endedAt < Infinity) return;
    try {
      await session.watch(path, this.#changed);
      if (this.#endedAt < Infinity) session.unwatch(path, this.#changed);
    } catch (error) {
      if (hasCode(error, 'NoNode')) this.#gone();
      // When the session is over instead, the store tells.
      if (hasCode(error, 'ConnectionLoss'))
        session.whenConnected().then(
          () => this.#watch(),
          () => undefined,
        );
    }
  }

  #gone(): void {
    if (this.#endedAt === Infinity) this.removed(this);
  }
}
