import { type Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { LOCK_OPTIONS, reconnectPause } from '../redis-client/redis.connection.js';
import { within } from '../redis-client/redis.deadline.js';
import type { Silence } from '../redis-client/redis.silence.js';
import type { LockConnections } from './redis.connections.js';
import { type ScriptConnection, withScripts } from './redis.scripts.js';

/**
 * As `LOCK_OPTIONS`, for a Cluster: nothing queues, and nothing is sent again seconds later. MOVED, ASK and TRYAGAIN are followed, since the
 * command was not executed; CLUSTERDOWN and a lost connection are errors at once.
 */
const CLUSTER_OPTIONS = {
  keyPrefix: '',
  lazyConnect: true,
  enableOfflineQueue: false,
  enableAutoPipelining: false,
  scaleReads: 'master',
  shardedSubscribers: false,
  retryDelayOnFailover: 0,
  retryDelayOnClusterDown: 0,
  clusterRetryStrategy: reconnectPause,
} satisfies ClusterOptions;

/** Connections to a Redis Cluster: one per master for commands, and one to any node for the inbox. */
export class ClusterConnections implements LockConnections {
  readonly commands: Cluster & ScriptConnection;
  readonly inbox: Redis | null;
  readonly keyPrefix: string;
  readonly isCluster = true;

  constructor(cluster: Cluster, inbox: boolean) {
    const { options } = cluster;
    this.keyPrefix = options.keyPrefix ?? options.redisOptions?.keyPrefix ?? '';
    const redisOptions: RedisOptions = { ...options.redisOptions, ...LOCK_OPTIONS };
    const named = (role: string): RedisOptions => ({
      ...redisOptions,
      connectionName: `distributed-lock:${role}`,
    });
    const overrides = { ...CLUSTER_OPTIONS, redisOptions: named('commands') };
    this.commands = withScripts(cluster.duplicate([], overrides));
    this.inbox = inbox ? this.#inbox(named('inbox')) : null;
  }

  get renewals(): ScriptConnection {
    return this.commands;
  }

  connect(usable: () => void, failed: (error: unknown) => void): void {
    const { commands, inbox } = this;
    commands.on('error', (error: Error & { lastNodeError?: Error }) =>
      failed(error.lastNodeError ?? error),
    );
    commands.on('ready', () => {
      if (inbox?.status === 'wait') {
        this.#aim(inbox);
        inbox.connect().catch(() => undefined); // goes on; its error is the 'error' event
      }
      void this.#connectMasters().then(usable);
    });
    inbox?.on('error', failed);
    commands.connect().catch(() => undefined); // likewise
  }

  watch(silentMs: number): { readonly commands: Silence; readonly renewals: Silence } {
    const silence = new ClusterSilence(this.commands, silentMs);
    return { commands: silence, renewals: silence };
  }

  disconnect(): void {
    this.commands.disconnect();
    this.inbox?.disconnect();
  }

  /** A message published on one node reaches the subscribers of all. Each new connection goes to another node: the last one may be gone. */
  #inbox(options: RedisOptions): Redis {
    const retryStrategy = (attempt: number): number => {
      this.#aim(inbox);
      return reconnectPause(attempt);
    };
    const inbox: Redis = new Redis({ ...options, retryStrategy });
    return inbox;
  }

  #aim(inbox: Redis): void {
    const nodes = this.commands.nodes('master');
    const node = nodes[Math.floor(Math.random() * nodes.length)];
    if (!node) return;
    const { host, port } = node.options;
    // What the next connection is made from; the options were copied when the client was made.
    Object.assign(inbox.options, { host, port });
  }

  /** Without an offline queue the second of two commands that meet a new node would fail while the first one connects. */
  #connectMasters(): Promise<unknown> {
    const waiting = this.commands.nodes('master').filter(({ status }) => status === 'wait');
    return Promise.allSettled(waiting.map((node) => node.connect()));
  }
}

/** Leaves the connections that are silent and keeps the others: the cluster as a whole is not connected anew. */
class ClusterSilence implements Silence {
  #checking = false;

  constructor(
    private readonly cluster: Cluster,
    private readonly silentMs: number,
  ) {}

  heard(): void {
    // By one node: says nothing about the others.
  }

  unanswered(): void {
    if (this.#checking) return;
    this.#checking = true;
    const checks = this.cluster.nodes().map(async (node) => {
      if (node.status === 'wait') return;
      // The pool forgets it, and the next command connects anew.
      await within(node.ping(), this.silentMs, 'silent').catch(() => node.disconnect());
    });
    void Promise.allSettled(checks).then(() => (this.#checking = false));
  }
}
