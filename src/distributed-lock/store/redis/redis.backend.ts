import { randomUUID } from 'node:crypto';
import { LockStoreUnavailableError } from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import type { KeyState, StoreTraits } from '../lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  Offer,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';
import { checkProbe } from '../redis-client/redis.errors.js';
import type { LockConnections } from './redis.connections.js';
import type { WakeUp } from './redis.inbox.js';
import { RedisLine } from './redis.line.js';
import { TokensOfTurn, turnNumber } from './redis.tokens.js';
import { type LinkTiming, RedisLink } from './redis.link.js';
import { evictedBy, RedisOperator } from './redis.operator.js';

/** How waiting works against this server. */
export interface RedisTiming extends LinkTiming {
  /** A process that has waited this long gets the key reserved when it is woken, in milliseconds. */
  readonly patienceMs: number;
  /** How long such a reservation lasts, in milliseconds: what a frozen process costs the others. */
  readonly claimMs: number;
}

const KEYS_PER_RENEWAL = 500;
/** How long a turn is kept for the process that it is offered to: what one that was frozen in the meantime costs the others, where no safety look comes before. */
const OFFER_MS = 3_000;
const POLL_FIRST_MS = 10;
const POLL_LONGEST_MS = 250;

/** See `scripts/`. */
type AcquireReply =
  string | readonly [pttlMs: number, holder: string, since: string, given: string, offered: number];
type ReleaseReply = number | string | readonly [number];
type PassReply = readonly [number, turnOrSince?: string, given?: string];

/** The commands of the lock, on one Redis. */
export class RedisBackend implements TurnBackend {
  readonly traits: StoreTraits;
  /** Callers with a place of their own, on the same connections. */
  readonly line: RedisLine;
  readonly #operator: RedisOperator;
  readonly #link: RedisLink;
  /**
   * Highest turn number seen, over all keys: whoever saw it never accepts a lower one, also after the server lost its data.
   * Turn numbers have 16 digits (or are '0'), so they compare as text.
   */
  #seen = '0';
  /** What every call says about this process: see `batch.lua`. */
  #about = '';

  constructor(
    connect: () => LockConnections,
    /** Empty when polling: scripts then neither queue nor wake. */
    private readonly process: string,
    private readonly timing: RedisTiming,
    /** Replicas that must have a turn before it is granted; `0` for none. */
    private readonly waitReplicas: number,
  ) {
    this.#link = new RedisLink(connect, timing, () => [this.#about, this.#seen]);
    this.line = new RedisLine(this.#link, process !== '', timing.claimMs, {
      seen: () => this.#seen,
      tokens: (turn) => this.#tokens(turn),
      numberOf: (token) => turnNumber({ first: token, size: 1 }),
      replicated: (key) => this.#replicated(key),
      lookAgainIn: (pttlMs, attempt) => this.#lookAgainIn(pttlMs, attempt),
    });
    this.#operator = new RedisOperator(this.#link, {
      process,
      claimMs: timing.claimMs,
      firstToken: (turn) => this.#tokens(turn).first,
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
      showsHolders: 'owner-and-token',
      forceRelease: 'hold',
    };
  }

  async open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    await this.#link.open(namespace, this.process, timeoutMs, {
      woken: (wakeUp) => listener.woken(wakeUp.key, this.#offer(wakeUp)),
      called: (message) => {
        const evicted = evictedBy(message);
        if (!evicted) return this.line.called(message);
        listener.evicted(evicted);
        this.line.evicted(evicted);
      },
      ready: () => {
        listener.ready();
        this.line.ready();
      },
    });
    const { patienceMs, claimMs } = this.timing;
    const counted = flag(!this.#link.isCluster);
    const times = `${Math.round(patienceMs * 1_000)}:${Math.ceil(claimMs)}:${this.#offerMs}`;
    const wakeUp = `${times}:${counted}:${this.#link.keyspace.inbox}`;
    this.#about = `${this.process}:${wakeUp}`;
    await this.#probe();
  }

  take(request: TakeRequest): Promise<Granted | Busy> {
    const { key, owner, leaseTimeMs, wait, more, since, attempt } = request;
    if (wait) this.#link.checkInbox();
    const queue = this.process === '' || !wait ? '0' : more ? '2' : '1';
    const leaseMs = Math.ceil(leaseTimeMs);
    const taking = this.#link.ask(
      { command: 'acquire', key, owner, queue, leaseMs, since },
      (reply: AcquireReply) => this.#taken(reply, attempt),
    );
    return this.waitReplicas === 0
      ? taking
      : this.#confirmed(key, taking, ({ granted }) => granted);
  }

  async pass(turn: HeldTurn): Promise<PassAnswer> {
    if (this.process === '') {
      // Without wake-ups nobody is known to wait: everybody gets the chance.
      const { held } = await this.giveBack(turn);
      return held
        ? { outcome: 'passed', retryInMs: this.#poll(1), since: null }
        : { outcome: 'lost' };
    }
    const { key, owner, leaseTimeMs } = turn;
    const passing = this.#link.ask(
      { command: 'pass', key, owner, queue: '2', leaseMs: Math.ceil(leaseTimeMs) },
      (reply: PassReply) => this.#passed(reply),
    );
    return this.#confirmed(key, passing, ({ outcome }) => outcome === 'continues');
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

  giveBack({ key, owner }: TurnRef, more = false): Promise<GiveBackAnswer> {
    return this.#link.ask(
      { command: 'release', key, owner, queue: more ? '2' : '0' },
      (reply: ReleaseReply) => {
        if (typeof reply === 'string') return { held: false, woke: false, offered: reply };
        const woke = typeof reply !== 'number';
        return { held: (woke ? reply[0] : reply) === 1, woke };
      },
    );
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

  stateOf(key: LockKey): Promise<KeyState> {
    return this.#operator.stateOf(key);
  }

  forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    return this.#operator.forceRelease(key);
  }

  async close(): Promise<void> {
    this.#link.close();
  }

  #taken(reply: AcquireReply, attempt: number): Granted | Busy {
    if (typeof reply === 'string') return { granted: true, tokens: this.#tokens(reply) };
    const [pttlMs, holder, since, given, offered] = reply;
    return {
      granted: false,
      retryInMs: this.#lookAgainIn(pttlMs, attempt),
      since: since === '0' ? null : since,
      holder,
      latest: new TokensOfTurn(given),
      offered: offered === 1,
    };
  }

  #passed([outcome, turnOrSince, given]: PassReply): PassAnswer {
    if (outcome === 1) return { outcome: 'continues', tokens: this.#tokens(turnOrSince!) };
    if (outcome === 0) return { outcome: 'lost' };
    return {
      outcome: 'passed',
      retryInMs: this.#lookAgainIn(-1, 1),
      since: turnOrSince ?? null,
      latest: new TokensOfTurn(given!),
    };
  }

  /** A turn counts with replicas once they have it, which no message can say. */
  get #offerMs(): number {
    return this.waitReplicas > 0 ? 0 : Math.ceil(Math.min(OFFER_MS, this.timing.safetyLookMs));
  }

  #offer({ turn, keptMs }: WakeUp): Offer | null {
    if (turn === '0') return null;
    return { owner: `${this.process}:${turn}`, tokens: this.#tokens(turn), keptMs };
  }

  async #confirmed<Answer>(
    key: LockKey,
    asking: Promise<Answer>,
    isTurn: (answer: Answer) => boolean,
  ): Promise<Answer> {
    const answer = await asking;
    if (isTurn(answer)) await this.#replicated(key);
    return answer;
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
    const call: (string | number)[] = [turns.length];
    for (const { key } of turns) call.push(this.#link.keyspace.of(key).lock);
    const callLeaseMs = turns[0]!.leaseTimeMs;
    call.push(Math.ceil(callLeaseMs));
    for (const { owner, tokens, leaseTimeMs } of turns) {
      const value = `${turnNumber(tokens)}:${owner}`;
      call.push(leaseTimeMs === callLeaseMs ? value : `${Math.ceil(leaseTimeMs)} ${value}`);
    }
    const gone = (await this.#link.renew((renewals) => renewals.lockRenew(call))) as number[];
    const held = turns.map(() => true);
    for (const position of gone) held[position - 1] = false;
    return held;
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

  #tokens(turn: string): TokenBlock {
    if (turn > this.#seen) this.#seen = turn;
    return new TokensOfTurn(turn);
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
