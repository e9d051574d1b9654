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
import type { LockConnections } from './redis.connections.js';
import { RedisInbox } from './redis.inbox.js';
import { ReplicaConfirmation } from './redis.replicas.js';
import type { ScriptConnection } from './redis.scripts.js';

export interface LinkTiming {
  /** How long a command may take before it counts as failed, in milliseconds. */
  readonly commandTimeoutMs: number;
  /** Longest time between two looks at a busy key, in milliseconds: what a lost wake-up costs. */
  readonly safetyLookMs: number;
}

/** What the server tells by itself. */
export interface LinkListener extends Pick<BackendListener, 'woken' | 'ready'> {
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
export class RedisLink {
  #open: OpenLink | null = null;
  #keyspace = new RedisKeyspace('', 'lock');
  #inboxCheckedAt = 0;
  #refused: LockConfigurationError | null = null;

  constructor(
    /** Called at each `open`: a store that was closed can be opened again, with connections of its own. */
    private readonly connect: () => LockConnections,
    private readonly timing: LinkTiming,
  ) {}

  get keyspace(): RedisKeyspace {
    return this.#keyspace;
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
    this.#keyspace = new RedisKeyspace(connections.keyPrefix, namespace);
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

  /** Rejects in bounded time. A command that is late may still be executed; the owner ids in it make that harmless. */
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
    this.#open?.connections.disconnect();
    this.#open = null;
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
        woken: (key: LockKey) => listener.woken(key),
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

  async #ask(
    part: keyof Silences,
    key: LockKey | null,
    command: (link: OpenLink) => Promise<unknown>,
  ): Promise<unknown> {
    if (this.#refused) throw this.#refused;
    if (!this.#open) throw new LockStoreUnavailableError('redis', key, 'not open');
    const { commandTimeoutMs } = this.timing;
    const silence = this.#open.silence[part];
    const sentAt = performance.now();
    try {
      const answer = command(this.#open);
      void answer.then(
        () => silence.heard(),
        () => silence.heard(),
      );
      return await within(answer, commandTimeoutMs, `no answer within ${commandTimeoutMs} ms`);
    } catch (error) {
      if (!(error instanceof LockStoreUnavailableError)) throw redisError(error, key);
      silence.unanswered(sentAt);
      throw error;
    }
  }
}
