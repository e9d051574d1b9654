import { randomUUID } from 'node:crypto';
import { LockStoreUnavailableError } from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type { StoreTraits } from '../lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';
import { checkProbe } from '../redis-client/redis.errors.js';
import type { LockConnections } from './redis.connections.js';
import { RedisLine } from './redis.line.js';
import { type LinkTiming, RedisLink } from './redis.link.js';

/** How waiting works against this server. */
export interface RedisTiming extends LinkTiming {
  /** A process that has waited this long gets the key reserved when it is woken, in milliseconds. */
  readonly patienceMs: number;
  /** How long such a reservation lasts, in milliseconds: what a frozen process costs the others. */
  readonly claimMs: number;
}

/** A turn number is a time in microseconds; each turn owns the thousand tokens that follow from it. */
const TOKENS_PER_TURN = 1_000;
const KEYS_PER_RENEWAL = 100;
const POLL_FIRST_MS = 10;
const POLL_LONGEST_MS = 250;

/** The commands of the lock, on one Redis. */
export class RedisBackend implements TurnBackend {
  readonly traits: StoreTraits;
  /** Callers with a place of their own, on the same connections. */
  readonly line: RedisLine;
  readonly #link: RedisLink;
  /** Highest turn number seen, over all keys: whoever saw it never accepts a lower one, also after the server lost its data. */
  #seen = 0;

  constructor(
    connect: () => LockConnections,
    /** Empty when polling: scripts then neither queue nor wake. */
    private readonly process: string,
    private readonly timing: RedisTiming,
    /** Replicas that must have a turn before it is granted; `0` for none. */
    private readonly waitReplicas: number,
  ) {
    this.#link = new RedisLink(connect, timing);
    this.line = new RedisLine(this.#link, process !== '', timing.claimMs, {
      seen: () => this.#seen,
      tokens: (turn) => this.#tokens(turn),
      numberOf: (token) => turnNumber({ first: token, size: 1 }),
      replicated: (key) => this.#replicated(key),
      lookAgainIn: (pttlMs, attempt) => this.#lookAgainIn(pttlMs, attempt),
    });
    this.traits = {
      name: 'redis',
      ownership: 'lease',
      fencing: 'store-wide',
      fair: 'process',
      wakes: process === '' ? 'poll' : 'push',
      reach: 'server',
      offers: ['shared', 'permits', 'fair'],
      keeps: 'server',
    };
  }

  async open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    await this.#link.open(namespace, this.process, timeoutMs, {
      woken: (key) => listener.woken(key),
      called: (message) => this.line.called(message),
      ready: () => {
        listener.ready();
        this.line.ready();
      },
    });
    await this.#probe();
  }

  async take(request: TakeRequest): Promise<Granted | Busy> {
    const { key, owner, leaseTimeMs, wait, more, since, attempt } = request;
    const { lock, fence, waiting } = this.#link.keyspace.of(key);
    const queue = this.process !== '';
    if (wait) this.#link.checkInbox();
    const args = [
      owner,
      Math.ceil(leaseTimeMs),
      this.process,
      flag(queue && wait),
      flag(queue && more),
    ];
    const place = [this.#seen, since ?? '0'];
    const reply = await this.#link.send(key, (commands) =>
      commands.lockAcquire(lock, fence, waiting, ...args, ...place),
    );
    const [granted, turnOrTtl, holder, waitsSince] = reply as [
      number,
      string | number,
      string?,
      string?,
    ];
    if (granted === 1) {
      await this.#replicated(key);
      return { granted: true, tokens: this.#tokens(turnOrTtl) };
    }
    return {
      granted: false,
      retryInMs: this.#lookAgainIn(Number(turnOrTtl), attempt),
      since: waitsSince === undefined || waitsSince === '0' ? null : waitsSince,
      holder: holder ?? null,
    };
  }

  async pass(turn: HeldTurn): Promise<PassAnswer> {
    if (this.process === '') {
      // Without wake-ups nobody is known to wait: everybody gets the chance.
      const { held } = await this.giveBack(turn);
      return held
        ? { outcome: 'passed', retryInMs: this.#poll(1), since: null }
        : { outcome: 'lost' };
    }
    const { lock, fence, waiting } = this.#link.keyspace.of(turn.key);
    const args = [turn.owner, Math.ceil(turn.leaseTimeMs), this.process, this.#seen];
    const reply = await this.#link.send(turn.key, (commands) =>
      commands.lockPass(lock, fence, waiting, ...args, ...this.#wakeUp(turn.key)),
    );
    const [outcome, turnOrSince] = reply as [number, string?];
    if (outcome === 1) {
      await this.#replicated(turn.key);
      return { outcome: 'continues', tokens: this.#tokens(turnOrSince!) };
    }
    if (outcome === 2)
      return { outcome: 'passed', retryInMs: this.#lookAgainIn(-1, 1), since: turnOrSince ?? null };
    return { outcome: 'lost' };
  }

  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const batches: Promise<boolean[]>[] = [];
    // In a Cluster the keys of a script share a slot, and two locks hardly ever do.
    const size = this.#link.isCluster ? 1 : KEYS_PER_RENEWAL;
    for (let from = 0; from < turns.length; from += size) {
      batches.push(this.#renewBatch(turns.slice(from, from + size)));
    }
    return (await Promise.all(batches)).flat();
  }

  async giveBack(turn: TurnRef, more = false): Promise<GiveBackAnswer> {
    const { lock, waiting } = this.#link.keyspace.of(turn.key);
    const args = [turn.owner, this.process, flag(more)];
    const reply = await this.#link.send(turn.key, (commands) =>
      commands.lockRelease(lock, waiting, ...args, ...this.#wakeUp(turn.key)),
    );
    const [held, woke] = reply as [number, number];
    return { held: held === 1, woke: woke === 1 };
  }

  async keep({ key, owner }: TurnRef, keepForMs: number): Promise<boolean> {
    const { lock, waiting } = this.#link.keyspace.of(key);
    const { inbox } = this.#link.keyspace;
    const args = [owner, Math.ceil(keepForMs), this.process, inbox, key];
    const reply = await this.#link.send(key, (commands) =>
      commands.lockKeep(lock, waiting, ...args, flag(!this.#link.isCluster)),
    );
    return reply === 1;
  }

  async close(): Promise<void> {
    this.#link.close();
  }

  /**
   * A turn counts once the replicas have it. One that too few of them have stays this owner's until it is asked for again, or given back.
   *
   * @throws {LockStoreUnavailableError}
   */
  async #replicated(key: LockKey): Promise<void> {
    const wanted = this.waitReplicas;
    if (wanted === 0) return;
    // The connection must be free again before its next command counts as failed.
    const timeoutMs = Math.ceil(this.timing.commandTimeoutMs / 2);
    const have = await this.#link.replicas(key, wanted, timeoutMs);
    if (have >= wanted) return;
    const detail = `${have} of ${wanted} replicas confirmed the lock within ${timeoutMs} ms`;
    throw new LockStoreUnavailableError('redis', key, detail);
  }

  async #renewBatch(turns: readonly HeldTurn[]): Promise<boolean[]> {
    const locks = turns.map(({ key }) => this.#link.keyspace.of(key).lock);
    const values = turns.flatMap(({ owner, tokens, leaseTimeMs }) => [
      `${turnNumber(tokens)}:${owner}`,
      Math.ceil(leaseTimeMs),
    ]);
    const reply = await this.#link.renew((renewals) =>
      renewals.lockRenew(locks.length, ...locks, ...values),
    );
    return (reply as number[]).map((answer) => answer === 1);
  }

  /** Finds missing permissions and commands at boot. A script's first use on a socket is an EVAL, all others are EVALSHA. */
  async #probe(): Promise<void> {
    const { lock, waiting } = this.#link.keyspace.of(`boot:${randomUUID()}` as LockKey);
    const args = [flag(this.process !== ''), `${this.#link.keyspace.inbox}boot`];
    for (const _command of ['EVAL', 'EVALSHA']) {
      const failed = await this.#link.send(null, (it) => it.lockProbe(lock, waiting, ...args));
      checkProbe(failed as string[]);
    }
    if (this.waitReplicas > 0) await this.#link.replicas(null, 0, 1);
  }

  #wakeUp(key: LockKey): readonly (string | number)[] {
    return [
      this.#link.keyspace.inbox,
      key,
      Math.round(this.timing.patienceMs * 1_000),
      Math.ceil(this.timing.claimMs),
      flag(!this.#link.isCluster),
    ];
  }

  #tokens(turn: string | number): TokenBlock {
    this.#seen = Math.max(this.#seen, Number(turn));
    return { first: BigInt(turn) * BigInt(TOKENS_PER_TURN), size: TOKENS_PER_TURN };
  }

  /** A moment *after* the lease that was seen ends, spread so that waiting processes do not look in step. */
  #lookAgainIn(pttlMs: number, attempt: number): number {
    const safety = this.process === '' ? this.#poll(attempt) : this.timing.safetyLookMs;
    const untilFree = pttlMs < 0 ? safety : pttlMs + 1;
    return Math.min(untilFree, safety) * (1 + Math.random() / 10);
  }

  /** Exponential back-off with full jitter. */
  #poll(attempt: number): number {
    return (
      1 + Math.random() * Math.min(POLL_FIRST_MS * 2 ** Math.min(attempt, 10), POLL_LONGEST_MS)
    );
  }
}

const flag = (on: boolean): string => (on ? '1' : '0');

function turnNumber(tokens: TokenBlock | null): string {
  return tokens === null ? '' : (tokens.first / BigInt(TOKENS_PER_TURN)).toString();
}
