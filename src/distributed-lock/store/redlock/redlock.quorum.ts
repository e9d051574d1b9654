import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type { RedisConnection } from '../redis-client/redis.connection.js';
import { within } from '../redis-client/redis.deadline.js';
import { ballot, type Failure, noMajority, type Tally } from './redlock.ballot.js';
import type { NodeIdentity } from './redlock.identity.js';
import { RedlockNode } from './redlock.node.js';

const BOOT_PATIENCE_MS = 1_000;
const CLOSE_PATIENCE_MS = 500;

/** The independent servers, and when enough of them agree. */
export class Quorum {
  /** How many nodes make a majority. */
  readonly majority: number;
  readonly #runIds = new Map<RedlockNode, string>();
  #nodes: readonly RedlockNode[] = [];

  constructor(private readonly connections: readonly RedisConnection[]) {
    this.majority = Math.floor(connections.length / 2) + 1;
  }

  /** Empty while closed. */
  get nodes(): readonly RedlockNode[] {
    return this.#nodes;
  }

  /**
   * Resolves when a majority can be asked; the others go on connecting.
   *
   * @throws {LockStoreUnavailableError} if no majority can within `timeoutMs`; all go on connecting.
   * @throws {LockConfigurationError} if a server that answers is not one that may vote.
   */
  async open(namespace: string, timeoutMs: number, onUsable: () => void): Promise<void> {
    let enough!: () => void;
    const majority = new Promise<void>((resolve) => (enough = resolve));
    const usable = (): void => {
      if (this.#usable >= this.majority) enough();
      onUsable();
    };
    const identified = (node: RedlockNode, identity: NodeIdentity): void =>
      this.#mustDiffer(node, identity);
    this.#nodes = this.connections.map(
      (connection) => new RedlockNode(connection, namespace, { identified, usable }),
    );
    const endsAt = performance.now() + timeoutMs;
    const attempted = Promise.all(this.#nodes.map((node) => node.connect()));
    await patiently(Promise.race([majority, attempted]), timeoutMs);
    // A node that is late to answer could be one of the others: it is waited for a moment.
    await patiently(attempted, Math.min(BOOT_PATIENCE_MS, timeoutMs));
    const trouble = this.#nodes.find((node) => node.trouble !== null)?.trouble;
    if (trouble) throw trouble;
    if (await patiently(majority, endsAt - performance.now())) return;
    const detail = `${this.#usable} of ${this.#nodes.length} nodes connected within ${timeoutMs} ms`;
    throw new LockStoreUnavailableError('redlock', null, detail);
  }

  /**
   * Asks all nodes; see {@link ballot}. A node that is too slow counts as failed, and its answer still comes.
   *
   * @throws {LockStoreUnavailableError} if the store is closed.
   */
  ask<Answer, Decision>(
    question: (node: RedlockNode) => Promise<Answer>,
    nodeTimeoutMs: number,
    decide: (tally: Tally<Answer>) => Decision | undefined,
  ): Promise<Decision> {
    this.mustBeOpen(null);
    return ballot(this.#nodes, (node) => inTime(node, question(node), nodeTimeoutMs), decide);
  }

  mustBeOpen(key: LockKey | null): void {
    if (this.#nodes.length === 0) throw new LockStoreUnavailableError('redlock', key, 'not open');
  }

  /** Whether `count` nodes that do not agree are too many. */
  isBlockedBy(count: number): boolean {
    return count > this.#nodes.length - this.majority;
  }

  /** @throws {LockStoreUnavailableError} if so many nodes failed that no majority can answer. */
  mustNotBeMute(key: LockKey | null, failures: readonly Failure[]): void {
    if (this.isBlockedBy(failures.length)) throw this.noMajority(key, failures);
  }

  noMajority(key: LockKey | null, failures: readonly Failure[]): Failure['error'] {
    return noMajority(key, failures, this.#nodes.length);
  }

  async close(): Promise<void> {
    const nodes = this.#nodes;
    this.#nodes = [];
    this.#runIds.clear();
    await Promise.all(nodes.map((node) => node.close(CLOSE_PATIENCE_MS)));
  }

  get #usable(): number {
    return this.#nodes.filter((node) => node.isUsable).length;
  }

  /** Two connections to one server would let it vote twice. */
  #mustDiffer(node: RedlockNode, { runId }: NodeIdentity): void {
    const twin = this.#nodes.find((it) => it !== node && this.#runIds.get(it) === runId);
    if (twin) {
      throw new LockConfigurationError(
        `Option "connections" of redlockStore: ${twin.name} and ${node.name} are the same server (run_id ${runId}); allowed: independent servers.`,
      );
    }
    this.#runIds.set(node, runId);
  }
}

/** @returns whether the promise was fulfilled in time. */
function patiently(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return within(promise, Math.max(ms, 0), '').then(
    () => true,
    () => false,
  );
}

async function inTime<T>(node: RedlockNode, answer: Promise<T>, timeoutMs: number): Promise<T> {
  const sentAt = performance.now();
  try {
    return await within(answer, timeoutMs, `no answer within ${Math.round(timeoutMs)} ms`);
  } catch (error) {
    node.unanswered(sentAt);
    throw error;
  }
}
