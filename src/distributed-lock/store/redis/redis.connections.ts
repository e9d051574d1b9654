import type { Cluster, Redis } from 'ioredis';
import {
  keyPrefixOf,
  ownConnection,
  type RedisConnection,
} from '../redis-client/redis.connection.js';
import { type Silence, SilenceWatch } from '../redis-client/redis.silence.js';
import { ClusterConnections } from './redis.cluster.js';
import { type ScriptConnection, withScripts } from './redis.scripts.js';

/** The connections of one store. */
export interface LockConnections {
  /** For scripts that take and give back, in the order they are sent; and for WAIT. */
  readonly commands: ScriptConnection & Pick<Redis, 'wait'>;
  /** For renewals: nothing slow stands before them. The same connection where nothing slow is sent at all. */
  readonly renewals: ScriptConnection;
  /** For this process's inbox channel; `null` when polling. */
  readonly inbox: Redis | null;
  /** The client's `keyPrefix`, which the store puts in front of keys and channels itself. */
  readonly keyPrefix: string;
  /** A Redis Cluster: the keys of a script are those of one lock, and a message's receivers cannot be counted. */
  readonly isCluster: boolean;
  /** Connects, and connects again whenever that is necessary. `usable` is called each time; the inbox tells by itself. */
  connect(usable: () => void, failed: (error: unknown) => void): void;
  /** @param silentMs how long nothing may come back after something was sent. */
  watch(silentMs: number): { readonly commands: Silence; readonly renewals: Silence };
  disconnect(): void;
}

export interface ConnectionNeeds {
  readonly inbox: boolean;
  /** Something slow is sent on `commands`. */
  readonly ownRenewals: boolean;
}

/** Opens nothing yet. */
export function lockConnections(
  connection: RedisConnection | Cluster,
  needs: ConnectionNeeds,
): LockConnections {
  if (isCluster(connection)) return new ClusterConnections(connection, needs.inbox);
  return new SingleConnections(connection, needs);
}

/** By shape, not by class: an application may have another copy of ioredis. */
export function isCluster(value: unknown): value is Cluster {
  return (value as { isCluster?: unknown } | null)?.isCluster === true;
}

/** One Redis, or the master of a Sentinel group. */
class SingleConnections implements LockConnections {
  readonly commands: Redis & ScriptConnection;
  readonly renewals: Redis & ScriptConnection;
  readonly inbox: Redis | null;
  readonly keyPrefix: string;
  readonly isCluster = false;

  constructor(connection: RedisConnection, needs: ConnectionNeeds) {
    this.commands = withScripts(ownConnection(connection, 'commands'));
    this.renewals = needs.ownRenewals
      ? withScripts(ownConnection(connection, 'renewals'))
      : this.commands;
    this.inbox = needs.inbox ? ownConnection(connection, 'inbox') : null;
    this.keyPrefix = keyPrefixOf(connection);
  }

  connect(usable: () => void, failed: (error: unknown) => void): void {
    const scripted = new Set([this.commands, this.renewals]);
    for (const client of scripted) {
      client.on('error', failed);
      client.on('ready', () => {
        if ([...scripted].every(({ status }) => status === 'ready')) usable();
      });
    }
    this.inbox?.on('error', failed);
    // A first attempt that fails goes on in the background; its error is the 'error' event.
    for (const client of [...scripted, this.inbox]) client?.connect().catch(() => undefined);
  }

  watch(silentMs: number): { readonly commands: Silence; readonly renewals: Silence } {
    const commands = new SilenceWatch(this.commands, silentMs);
    if (this.renewals === this.commands) return { commands, renewals: commands };
    return { commands, renewals: new SilenceWatch(this.renewals, silentMs) };
  }

  disconnect(): void {
    for (const client of new Set([this.commands, this.renewals, this.inbox])) client?.disconnect();
  }
}
