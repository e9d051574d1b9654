import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
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
import type { LockConnections } from './redis.connections.js';
import { checkProbe, redisError } from './redis.errors.js';
import { within } from './redis.deadline.js';
import { RedisInbox } from './redis.inbox.js';
import { RedisKeyspace } from './redis.keys.js';
import { SilenceWatch } from './redis.silence.js';
import type { ScriptConnection } from './redis.scripts.js';

/** How waiting works against this server. */
export interface RedisTiming {
  /** How long a command may take before it counts as failed, in milliseconds. */
  readonly commandTimeoutMs: number;
  /** Longest time between two looks at a busy key, in milliseconds: what a lost wake-up costs. */
  readonly safetyLookMs: number;
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
  #keyspace = new RedisKeyspace('', 'lock');
  #connections: LockConnections | null = null;
  #inbox: RedisInbox | null = null;
  #silence: SilenceWatch | null = null;
  #inboxCheckedAt = 0;
  /** Highest turn number seen, over all keys: whoever saw it never accepts a lower one, also after the server lost its data. */
  #seen = 0;
  #refused: LockConfigurationError | null = null;

  constructor(
    /** Called at each `open`: a store that was closed can be opened again, with connections of its own. */
    private readonly connect: () => LockConnections,
    /** Empty when polling: scripts then neither queue nor wake. */
    private readonly process: string,
    private readonly timing: RedisTiming,
  ) {
    this.traits = {
      name: 'redis',
      ownership: 'lease',
      fencing: 'store-wide',
      fair: 'process',
      wakes: process === '' ? 'poll' : 'push',
      reach: 'server',
    };
  }

  async open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    const { commands, inbox, keyPrefix } = (this.#connections = this.connect());
    this.#keyspace = new RedisKeyspace(keyPrefix, namespace);
    const connected = this.#whenConnected(commands, inbox, listener);
    // A first attempt that fails goes on in the background; its error is the 'error' event.
    for (const client of [commands, inbox]) client?.connect().catch(() => undefined);
    await within(connected, timeoutMs, `no connection within ${timeoutMs} ms`);
    await this.#probe();
  }

  async take(request: TakeRequest): Promise<Granted | Busy> {
    const { key, owner, leaseTimeMs, wait, more, since, attempt } = request;
    const { lock, fence, waiting } = this.#keyspace.of(key);
    const queue = this.process !== '';
    if (wait) this.#checkInbox();
    const args = [
      owner,
      Math.ceil(leaseTimeMs),
      this.process,
      flag(queue && wait),
      flag(queue && more),
    ];
    const place = [this.#seen, since ?? '0'];
    const reply = await this.#send(key, (commands) =>
      commands.lockAcquire(lock, fence, waiting, ...args, ...place),
    );
    const [granted, turnOrTtl, holder, waitsSince] = reply as [
      number,
      string | number,
      string?,
      string?,
    ];
    if (granted === 1) return { granted: true, tokens: this.#tokens(turnOrTtl) };
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
    const { lock, fence, waiting } = this.#keyspace.of(turn.key);
    const args = [turn.owner, Math.ceil(turn.leaseTimeMs), this.process, this.#seen];
    const reply = await this.#send(turn.key, (commands) =>
      commands.lockPass(lock, fence, waiting, ...args, ...this.#wakeUp(turn.key)),
    );
    const [outcome, turnOrSince] = reply as [number, string?];
    if (outcome === 1) return { outcome: 'continues', tokens: this.#tokens(turnOrSince!) };
    if (outcome === 2)
      return { outcome: 'passed', retryInMs: this.#lookAgainIn(-1, 1), since: turnOrSince ?? null };
    return { outcome: 'lost' };
  }

  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const batches: Promise<boolean[]>[] = [];
    for (let from = 0; from < turns.length; from += KEYS_PER_RENEWAL) {
      batches.push(this.#renewBatch(turns.slice(from, from + KEYS_PER_RENEWAL)));
    }
    return (await Promise.all(batches)).flat();
  }

  async giveBack(turn: TurnRef, more = false): Promise<GiveBackAnswer> {
    const { lock, waiting } = this.#keyspace.of(turn.key);
    const args = [turn.owner, this.process, flag(more)];
    const reply = await this.#send(turn.key, (commands) =>
      commands.lockRelease(lock, waiting, ...args, ...this.#wakeUp(turn.key)),
    );
    const [held, woke] = reply as [number, number];
    return { held: held === 1, woke: woke === 1 };
  }

  async close(): Promise<void> {
    const connections = this.#connections;
    this.#connections = null;
    this.#inbox = null;
    connections?.commands.disconnect();
    connections?.inbox?.disconnect();
  }

  /** Resolves once both connections are usable; goes on telling the listener whenever one of them is again. */
  #whenConnected(commands: Redis, inbox: Redis | null, listener: BackendListener): Promise<void> {
    const silentMs = 2 * this.timing.commandTimeoutMs;
    this.#silence = new SilenceWatch(commands, silentMs);
    return new Promise((resolve, reject) => {
      const usable = { commands: false, inbox: inbox === null };
      const report = (connection: keyof typeof usable): void => {
        usable[connection] = true;
        if (usable.commands && usable.inbox) resolve();
        listener.ready();
      };
      const onError = (error: unknown): void => {
        const refused = redisError(error, null);
        if (refused instanceof LockConfigurationError) reject((this.#refused = refused));
      };
      commands.on('error', onError);
      commands.on('ready', () => {
        this.#refused = null;
        report('commands');
      });
      if (!inbox) return;
      inbox.on('error', onError);
      const inboxListener = {
        woken: (key: LockKey) => listener.woken(key),
        subscribed: () => report('inbox'),
        failed: onError,
      };
      const channel = this.#keyspace.inbox + this.process;
      this.#inbox = new RedisInbox(inbox, channel, inboxListener, silentMs);
    });
  }

  async #renewBatch(turns: readonly HeldTurn[]): Promise<boolean[]> {
    const locks = turns.map(({ key }) => this.#keyspace.of(key).lock);
    const values = turns.flatMap(({ owner, tokens, leaseTimeMs }) => [
      `${turnNumber(tokens)}:${owner}`,
      Math.ceil(leaseTimeMs),
    ]);
    const reply = await this.#send(null, (commands) =>
      commands.lockRenew(locks.length, ...locks, ...values),
    );
    return (reply as number[]).map((answer) => answer === 1);
  }

  /** Finds missing permissions and commands at boot. A script's first use on a socket is an EVAL, all others are EVALSHA. */
  async #probe(): Promise<void> {
    const { lock, waiting } = this.#keyspace.of(`boot:${randomUUID()}` as LockKey);
    const args = [flag(this.process !== ''), `${this.#keyspace.inbox}boot`];
    for (const _command of ['EVAL', 'EVALSHA']) {
      const failed = await this.#send(null, (it) => it.lockProbe(lock, waiting, ...args));
      checkProbe(failed as string[]);
    }
  }

  #wakeUp(key: LockKey): readonly (string | number)[] {
    return [
      this.#keyspace.inbox,
      key,
      Math.round(this.timing.patienceMs * 1_000),
      Math.ceil(this.timing.claimMs),
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

  #checkInbox(): void {
    const at = performance.now();
    if (!this.#inbox || at - this.#inboxCheckedAt < this.timing.safetyLookMs) return;
    this.#inboxCheckedAt = at;
    this.#inbox.checkConnection();
  }

  /** Rejects in bounded time. A command that is late may still be executed; the owner ids in it make that harmless. */
  async #send(
    key: LockKey | null,
    command: (commands: ScriptConnection) => Promise<unknown>,
  ): Promise<unknown> {
    if (this.#refused) throw this.#refused;
    if (!this.#connections) throw new LockStoreUnavailableError('redis', key, 'not open');
    const { commandTimeoutMs } = this.timing;
    const silence = this.#silence;
    const sentAt = performance.now();
    try {
      const answer = command(this.#connections.commands);
      void answer.then(
        () => silence?.heard(),
        () => silence?.heard(),
      );
      return await within(answer, commandTimeoutMs, `no answer within ${commandTimeoutMs} ms`);
    } catch (error) {
      if (!(error instanceof LockStoreUnavailableError)) throw redisError(error, key);
      silence?.unanswered(sentAt);
      throw error;
    }
  }
}

const flag = (on: boolean): string => (on ? '1' : '0');

function turnNumber(tokens: TokenBlock | null): string {
  return tokens === null ? '' : (tokens.first / BigInt(TOKENS_PER_TURN)).toString();
}
