import { now } from '../../distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../distributed-lock.errors.js';
import type { AcquireRequest } from '../lock-store.js';
import type { Directories } from './directories.js';
import type { Attempt, LockLayout } from './lock-layout.js';
import { overLosses, type QueueNode } from './queue-node.js';
import { hasCode, storeError } from './zookeeper.errors.js';
import type { ZooKeeperSession } from './zookeeper.session.js';
import type { ZooKeeperGrant } from './zookeeper.grant.js';

/** What a call needs from the store it belongs to. */
export interface ContenderHost {
  readonly layout: LockLayout;
  /** The session of this moment; another one after it has ended. */
  readonly session: ZooKeeperSession;
  readonly directories: Directories;
  grant(request: AcquireRequest, node: QueueNode): ZooKeeperGrant;
}

/** A caller that gives up waits so long at most for its nodes to go; they go in any case. */
const LONGEST_CLEAN_UP_MS = 500;

type Answer = ZooKeeperGrant | null;

/** One call that wants a key: from its first node to the answer, over lost connections and lost sessions. */
export class Contender {
  readonly #leaving = new AbortController();
  readonly #left: Promise<Answer>;
  #answer!: (answer: null) => void;
  #fail!: (error: unknown) => void;
  #timer: NodeJS.Timeout | null = null;
  /** ZooKeeper has said that somebody else is before this call, or that nobody is. */
  #isQueued = false;
  #isGranted = false;

  constructor(
    readonly request: AcquireRequest,
    private readonly path: string,
    private readonly host: ContenderHost,
  ) {
    this.#left = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
  }

  get isQueued(): boolean {
    return this.#isQueued;
  }

  get isShared(): boolean {
    return isShared(this.request);
  }

  /** @throws as `LockStore.acquire`. */
  async run(): Promise<Answer> {
    const { signal, waitTimeMs } = this.request;
    if (waitTimeMs > 0) this.#after(waitTimeMs, () => this.#timedOut());
    else if (this.host.session.trouble !== null) throw this.#unavailable();
    const onAbort = (): void => this.leave(signal!.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([this.#contend(), this.#left]);
    } catch (error) {
      throw this.#leaving.signal.aborted ? error : storeError(error, this.request.key);
    } finally {
      if (this.#timer) clearTimeout(this.#timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** The connection is lost. Waiters keep their places; who only tries wants an answer now. */
  suspended(): void {
    if (this.request.waitTimeMs === 0) this.leave(this.#unavailable());
  }

  /** Gives up. What was made on the server is removed in the background. */
  leave(error: unknown): void {
    if (this.#isGranted) return;
    this.#leaving.abort();
    this.#fail(error);
  }

  #timedOut(): void {
    if (!this.#isQueued || this.host.session.trouble !== null)
      return this.leave(this.#unavailable());
    this.#leaving.abort();
    // `null` means that nothing is left behind; a server that does not answer is not waited for.
    this.#after(LONGEST_CLEAN_UP_MS, () => this.#answer(null));
  }

  #unavailable(): LockStoreUnavailableError {
    const detail = this.host.session.trouble ?? 'it has not answered yet';
    return new LockStoreUnavailableError('zookeeper', this.request.key, detail);
  }

  async #contend(): Promise<Answer> {
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      const nodes = new Set<QueueNode>();
      const { session } = this.host;
      this.#isQueued = false;
      try {
        const node = await this.host.layout(this.#attempt(session, nodes), this.path);
        if (node && (await this.#stillCounts(session))) {
          nodes.delete(node);
          this.#isGranted = true;
          return this.host.grant(this.request, node);
        }
        return null;
      } catch (error) {
        if (signal.aborted) return null;
        // The place is gone: with its session, or removed by hand. A new one is taken.
        if (!hasCode(error, 'SessionExpired', 'QueueNodeGone')) throw error;
      } finally {
        const removed = [...nodes].map((node) => node.remove().catch(() => undefined));
        if (!this.#isGranted) await Promise.all(removed);
      }
    }
    return null;
  }

  #attempt(session: ZooKeeperSession, nodes: Set<QueueNode>): Attempt {
    return {
      session,
      directories: this.host.directories,
      isShared: this.isShared,
      tries: this.request.waitTimeMs === 0,
      signal: this.#leaving.signal,
      nodes,
      queued: () => (this.#isQueued = true),
    };
  }

  /** A server that was cut off from the leader may still show a place in a queue that is no longer ours. */
  async #stillCounts(session: ZooKeeperSession): Promise<boolean> {
    while (session.validUntil <= now()) await overLosses(session, () => session.confirm());
    return !this.#leaving.signal.aborted;
  }

  #after(ms: number, work: () => void): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(work, ms);
    this.#timer.unref();
  }
}

/** Whether the call tolerates other shared ones. */
export function isShared({ admission }: AcquireRequest): boolean {
  return admission?.mode === 'shared';
}
