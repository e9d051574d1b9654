import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import { within } from '../redis-client/redis.deadline.js';
import { redisError } from '../redis-client/redis.errors.js';
import { RedisKeyspace } from '../redis-client/redis.keys.js';
import type { Silence } from '../redis-client/redis.silence.js';
import type { BackendListener } from '../turn-backend.js';
import { Countdown } from '../countdown.js';
import { type BatchLink, CommandBatches, type LockCommand } from './redis.batches.js';
import type { LockConnections } from './redis.connections.js';
import { RedisInbox, type WakeUp } from './redis.inbox.js';
import { ReplicaConfirmation } from './redis.replicas.js';
import type { ScriptConnection } from './redis.scripts.js';

export interface LinkTiming {
  /** How long a command may take before it counts as failed, in milliseconds. */
  readonly commandTimeoutMs: number;
  /** Longest time between two looks at a busy key, in milliseconds: what a lost wake-up costs. */
  readonly safetyLookMs: number;
}

/** What the server tells by itself. */
export interface LinkListener extends Pick<BackendListener, 'ready'> {
  woken(wakeUp: WakeUp): void;
  /** A message to a caller in the line. */
  called(message: string): void;
}

type Silences = Readonly<Record<'commands' | 'renewals', Silence>>;

interface OpenLink {
  readonly connections: LockConnections;
  readonly inbox: RedisInbox | null;
  readonly silence: Silences;
  readonly replicas: ReplicaConfirmation;
}

/** A store's way to its server: connected, watched, and asked in bounded time. */
export class RedisLink implements BatchLink {
  #open: OpenLink | null = null;
  #keyspace = new RedisKeyspace('', 'lock');
  #inboxCheckedAt = 0;
  #refused: LockConfigurationError | null = null;
  readonly #unanswered: Countdown<UnansweredCall>;
  readonly #batches = new CommandBatches(this);

  constructor(
    /** Called at each `open`: a store that was closed can be opened again, with connections of its own. */
    private readonly connect: () => LockConnections,
    private readonly timing: LinkTiming,
    readonly about: BatchLink['about'],
  ) {
    const { commandTimeoutMs } = timing;
    // After this process was blocked, timers come before answers that have long arrived: those are read first.
    this.#unanswered = new Countdown(commandTimeoutMs, (call) =>
      setImmediate(() => call.late(commandTimeoutMs)),
    );
  }

  get keyspace(): RedisKeyspace {
    return this.#keyspace;
  }

  get takesTogether(): boolean {
    return !this.isCluster;
  }

  get isCluster(): boolean {
    return this.#open?.connections.isCluster ?? false;
  }

  /** @param process whose inbox it is. */
  async open(
    namespace: string,
    process: string,
    timeoutMs: number,
    listener: LinkListener,
  ): Promise<void> {
    const connections = this.connect();
    this.#keyspace = new RedisKeyspace(connections.keyPrefix, namespace, connections.isCluster);
    const connected = this.#whenConnected(connections, process, listener);
    await within(connected, timeoutMs, `no connection within ${timeoutMs} ms`);
  }

  /** Notices an inbox that is open but silent; looks now and then, however often it is called. */
  checkInbox(): void {
    const at = performance.now();
    if (!this.#open?.inbox || at - this.#inboxCheckedAt < this.timing.safetyLookMs) return;
    this.#inboxCheckedAt = at;
    this.#open.inbox.checkConnection();
  }

  /**
   * Rejects in bounded time. A command that is late may still be executed; the owner ids in it make that harmless.
   * What is sent in one turn of the event loop goes together where that is possible.
   */
  ask<Answer>(command: LockCommand, answer: (reply: never) => Answer): Promise<Answer> {
    return this.#batches.ask(command, answer);
  }

  /** A call of its own, at once: before what has been asked for in this turn of the event loop. */
  send(
    key: LockKey | null,
    command: (commands: ScriptConnection) => Promise<unknown>,
  ): Promise<unknown> {
    return this.#ask('commands', key, ({ connections }) => command(connections.commands));
  }

  renew(command: (renewals: ScriptConnection) => Promise<unknown>): Promise<unknown> {
    return this.#ask('renewals', null, ({ connections }) => command(connections.renewals));
  }

  /** @returns how many replicas have everything that was answered by now. */
  async replicas(key: LockKey | null, wanted: number, timeoutMs: number): Promise<number> {
    const answer = await this.#ask('commands', key, ({ replicas }) =>
      replicas.count(wanted, timeoutMs),
    );
    return answer as number;
  }

  close(): void {
    this.#batches.flush();
    this.#open?.connections.disconnect();
    this.#open = null;
    this.#unanswered.end();
  }

  /** Resolves once the connections are usable; goes on telling the listener whenever one of them is again. */
  #whenConnected(
    connections: LockConnections,
    process: string,
    listener: LinkListener,
  ): Promise<void> {
    const silentMs = 2 * this.timing.commandTimeoutMs;
    return new Promise((resolve, reject) => {
      const usable = { commands: false, inbox: connections.inbox === null };
      const report = (part: keyof typeof usable): void => {
        usable[part] = true;
        if (usable.commands && usable.inbox) resolve();
        listener.ready();
      };
      const failed = (error: unknown): void => {
        const refused = redisError(error, null);
        if (refused instanceof LockConfigurationError) reject((this.#refused = refused));
      };
      const inboxListener = {
        woken: (wakeUp: WakeUp) => listener.woken(wakeUp),
        called: (message: string) => listener.called(message),
        subscribed: () => report('inbox'),
        failed,
      };
      const channel = this.#keyspace.inbox + process;
      const { inbox } = connections;
      this.#open = {
        connections,
        inbox: inbox && new RedisInbox(inbox, channel, inboxListener, silentMs),
        silence: connections.watch(silentMs),
        replicas: new ReplicaConfirmation(connections.commands),
      };
      connections.connect(() => {
        this.#refused = null;
        report('commands');
      }, failed);
    });
  }

  call(
    key: LockKey | null,
    command: (commands: ScriptConnection) => Promise<unknown>,
    answered: (reply: unknown) => void,
    failed: (error: unknown) => void,
  ): void {
    this.#send('commands', key, (link) => command(link.connections.commands), answered, failed);
  }

  #ask(
    part: keyof Silences,
    key: LockKey | null,
    call: (link: OpenLink) => Promise<unknown>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => this.#send(part, key, call, resolve, reject));
  }

  #send(
    part: keyof Silences,
    key: LockKey | null,
    call: (link: OpenLink) => Promise<unknown>,
    answered: (reply: unknown) => void,
    failed: (error: unknown) => void,
  ): void {
    if (this.#refused) return failed(this.#refused);
    const link = this.#open;
    if (!link) return failed(new LockStoreUnavailableError('redis', key, 'not open'));
    const underWay = new UnansweredCall(key, link.silence[part], failed);
    this.#unanswered.add(underWay);
    call(link).then(
      (reply) => {
        this.#unanswered.delete(underWay);
        if (underWay.answered()) answered(reply);
      },
      (error: unknown) => {
        this.#unanswered.delete(underWay);
        if (underWay.answered()) failed(redisError(error, key));
      },
    );
  }
}

/** A call that is under way. */
class UnansweredCall {
  readonly #sentAt = performance.now();
  #over = false;

  constructor(
    private readonly key: LockKey | null,
    private readonly silence: Silence,
    private readonly failed: (error: LockStoreUnavailableError) => void,
  ) {}

  /** @returns `false` if it had been given up already. */
  answered(): boolean {
    this.silence.heard();
    const wasOpen = !this.#over;
    this.#over = true;
    return wasOpen;
  }

  /** The answer may be late; the command may still be executed. */
  late(timeoutMs: number): void {
    if (this.#over) return;
    this.#over = true;
    this.silence.unanswered(this.#sentAt);
    const detail = `no answer within ${timeoutMs} ms`;
    this.failed(new LockStoreUnavailableError('redis', this.key, detail));
  }
}
