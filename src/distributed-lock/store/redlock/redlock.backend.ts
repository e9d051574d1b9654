import { now } from '../../distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../distributed-lock.errors.js';
import type { StoreTraits } from '../lock-store.js';
import { pollPause } from '../polling.js';
import type { RedisConnection } from '../redis-client/redis.connection.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';
import { type Attempt, Attempts } from './redlock.attempts.js';
import type { NodeLease, RedlockNode, Renewed, Vote } from './redlock.node.js';
import { Quorum } from './redlock.quorum.js';

export interface RedlockSettings {
  /** How long one node may take, in milliseconds; `null` for a part of the lease. */
  readonly nodeTimeoutMs: number | null;
  /** Longest pause between two looks at a busy key, in milliseconds. */
  readonly longestPauseMs: number;
}

const SHORTEST_TIMEOUT_MS = 20;
const LONGEST_TIMEOUT_MS = 500;
/** Part of the lease that must be left when a majority has voted, or the grant is not worth its while. */
const FLOOR = 0.1;
const KEYS_PER_RENEWAL = 100;

/** What each node was asked, and may still answer. */
type Votes = ReadonlyMap<RedlockNode, Promise<Vote>>;

/** The Redlock algorithm (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/): a lease on a majority of independent servers. */
export class RedlockBackend implements TurnBackend {
  readonly traits: StoreTraits = {
    name: 'redlock',
    ownership: 'lease',
    fencing: 'none',
    fair: 'none',
    wakes: 'poll',
    reach: 'server',
    offers: [],
    keeps: 'server',
    showsHolders: 'none',
    forceRelease: 'none',
  };
  readonly #quorum: Quorum;
  readonly #attempts: Attempts;

  constructor(
    connections: readonly RedisConnection[],
    processId: string,
    private readonly settings: RedlockSettings,
  ) {
    this.#quorum = new Quorum(connections);
    this.#attempts = new Attempts(processId);
  }

  open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    return this.#quorum.open(namespace, timeoutMs, () => listener.ready());
  }

  async take({ key, owner, leaseTimeMs, attempt }: TakeRequest): Promise<Granted | Busy> {
    this.#quorum.mustBeOpen(key);
    const leaseMs = Math.ceil(leaseTimeMs);
    const mine = this.#attempts.begin(key, owner, leaseMs);
    const lease: NodeLease = { key, owner: mine.id, leaseMs };
    const sentAt = now();
    const votes = new Map(this.#quorum.nodes.map((node) => [node, node.acquire(lease)]));
    const undo = once(() => {
      this.#attempts.end(owner, mine);
      this.#undo(lease, votes);
    });
    try {
      const elected = await this.#elect(lease, votes, undo);
      if (elected) {
        this.#attempts.confirm(mine, leaseMs, sentAt);
        this.#mustBeWorthwhile(mine, sentAt);
        return { granted: true, tokens: null };
      }
    } catch (error) {
      undo();
      throw error;
    }
    const pause = pollPause(attempt + 1, 2, this.settings.longestPauseMs);
    return { granted: false, retryInMs: pause, since: null, holder: null };
  }

  /** Nobody is known to wait: everybody gets the chance. */
  async pass(turn: HeldTurn): Promise<PassAnswer> {
    const { held } = await this.giveBack(turn);
    if (!held) return { outcome: 'lost' };
    const retryInMs = pollPause(2, 2, this.settings.longestPauseMs);
    return { outcome: 'passed', retryInMs, since: null };
  }

  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const asked = turns.map(({ owner, leaseTimeMs }) => {
      const attempt = this.#attempts.of(owner);
      return attempt && { owner, attempt, leaseMs: Math.ceil(leaseTimeMs) };
    });
    const live = asked.filter((it) => it !== undefined);
    const batches: Promise<ReadonlySet<Attempt>>[] = [];
    for (let from = 0; from < live.length; from += KEYS_PER_RENEWAL) {
      batches.push(this.#renewBatch(live.slice(from, from + KEYS_PER_RENEWAL)));
    }
    const held = await Promise.all(batches);
    return asked.map((it) => it !== undefined && held.some((batch) => batch.has(it.attempt)));
  }

  async giveBack(turn: TurnRef): Promise<GiveBackAnswer> {
    return { held: await this.#end(turn, 0), woke: false };
  }

  keep(turn: TurnRef, keepForMs: number): Promise<boolean> {
    return this.#end(turn, Math.ceil(keepForMs));
  }

  async #end({ key, owner }: TurnRef, keepForMs: number): Promise<boolean> {
    const attempt = this.#attempts.of(owner);
    // An attempt that failed was undone then.
    if (!attempt) return false;
    const lease = leaseOf(attempt);
    const { majority } = this.#quorum;
    const held = await this.#quorum.ask(
      (node) => node.release(lease, keepForMs),
      this.#timeout(attempt.leaseMs / 20),
      ({ answers, failures, pending }) => {
        const freed = [...answers.values()].filter(Boolean).length;
        if (freed >= majority) return true;
        if (answers.size - freed >= majority) return false;
        this.#quorum.mustNotBeMute(key, failures);
        // No longer this owner's on a majority: what was gone on some of them was released, too.
        return pending === 0 ? freed > 0 : undefined;
      },
    );
    this.#attempts.end(owner, attempt);
    return held;
  }

  async close(): Promise<void> {
    await this.#quorum.close();
    this.#attempts.clear();
  }

  /** @returns whether a majority voted for the lease. @param hopeless called as soon as none can. */
  #elect(lease: NodeLease, votes: Votes, hopeless: () => void): Promise<boolean> {
    const { majority } = this.#quorum;
    return this.#quorum.ask(
      (node) => votes.get(node)!,
      this.#timeout(lease.leaseMs / 20),
      ({ answers, failures }) => {
        const granted = [...answers.values()].filter((vote) => vote.granted).length;
        if (granted >= majority) return true;
        if (!this.#quorum.isBlockedBy(answers.size - granted + failures.length)) return undefined;
        hopeless();
        this.#quorum.mustNotBeMute(lease.key, failures);
        // "Busy" is the word of a majority; until one has spoken it may yet turn out to be "broken".
        return answers.size >= majority ? false : undefined;
      },
    );
  }

  /** Frees what an attempt may have taken: at once, and again where an answer is still to come. */
  #undo(lease: NodeLease, votes: Votes): void {
    for (const [node, vote] of votes) {
      const free = (owner: string): void =>
        void node.release({ ...lease, owner }).catch(() => undefined); // owed by the node
      free(lease.owner);
      vote.then(
        ({ granted, holder }) => {
          if (granted) free(lease.owner);
          else if (holder !== null && this.#attempts.isStray(holder)) free(holder);
        },
        () => undefined, // owed by the node
      );
    }
  }

  /** @returns the attempts that a majority still honours. Frees the others. */
  async #renewBatch(
    batch: readonly { owner: string; attempt: Attempt; leaseMs: number }[],
  ): Promise<ReadonlySet<Attempt>> {
    const sentAt = now();
    const held = new Set<Attempt>();
    const asked = batch.filter(({ attempt }) => sentAt < attempt.validUntil);
    const leases = asked.map(({ attempt, leaseMs }) => ({ ...leaseOf(attempt), leaseMs }));
    // A renewal that is slow harms nobody: what it gives counts from when it was sent.
    const timeoutMs = this.#timeout(Math.min(...leases.map(({ leaseMs }) => leaseMs)) / 4);
    const rounds = asked.length === 0 ? [] : await this.#askToRenew(leases, timeoutMs);
    for (const [index, { attempt, leaseMs }] of asked.entries()) {
      if (!rounds[index]) continue;
      this.#attempts.confirm(attempt, leaseMs, sentAt);
      held.add(attempt);
    }
    for (const { owner, attempt } of batch) {
      if (held.has(attempt)) continue;
      this.#attempts.end(owner, attempt);
      for (const node of this.#quorum.nodes) node.release(leaseOf(attempt)).catch(() => undefined); // owed by the node
    }
    return held;
  }

  /** @returns per lease, whether a majority extended it. @throws {LockStoreUnavailableError} if that cannot be told. */
  #askToRenew(leases: readonly NodeLease[], timeoutMs: number): Promise<readonly boolean[]> {
    return this.#quorum.ask(
      (node) => node.renew(leases),
      timeoutMs,
      ({ answers, failures, pending }) => {
        const outcomes = leases.map((_lease, index) => this.#outcome(answers, index));
        if (outcomes.every((it) => it !== undefined)) {
          for (const [index, lease] of leases.entries())
            if (outcomes[index]) this.#repair(lease, answers, index);
          return outcomes;
        }
        if (pending === 0) throw this.#quorum.noMajority(null, failures);
        this.#quorum.mustNotBeMute(null, failures);
        return undefined;
      },
    );
  }

  #outcome(
    answers: ReadonlyMap<RedlockNode, readonly Renewed[]>,
    index: number,
  ): boolean | undefined {
    const said = [...answers.values()].map((renewed) => renewed[index]);
    const held = said.filter((it) => it === 'held').length;
    if (held >= this.#quorum.majority) return true;
    return this.#quorum.isBlockedBy(said.length - held) ? false : undefined;
  }

  /** A node that lost its data gets the key back, so that the next one may lose its data, too. */
  #repair(
    lease: NodeLease,
    answers: ReadonlyMap<RedlockNode, readonly Renewed[]>,
    index: number,
  ): void {
    for (const [node, renewed] of answers) {
      if (renewed[index] === 'gone') node.acquire(lease).catch(() => undefined); // at the next renewal, then
    }
  }

  #mustBeWorthwhile({ key, validUntil, leaseMs }: Attempt, sentAt: number): void {
    if (validUntil - now() > FLOOR * leaseMs) return;
    const detail = `a majority answered after ${Math.round(now() - sentAt)} ms of a lease of ${leaseMs} ms`;
    throw new LockStoreUnavailableError('redlock', key, detail);
  }

  #timeout(partOfLeaseMs: number): number {
    const part = Math.min(partOfLeaseMs, LONGEST_TIMEOUT_MS);
    return this.settings.nodeTimeoutMs ?? Math.max(SHORTEST_TIMEOUT_MS, part);
  }
}

function leaseOf({ key, id, leaseMs }: Attempt): NodeLease {
  return { key, owner: id, leaseMs };
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
