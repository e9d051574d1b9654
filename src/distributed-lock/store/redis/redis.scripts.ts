import type { Cluster, Redis } from 'ioredis';
import { defineScripts, luaSource } from '../redis-client/redis.script-loader.js';

type Reply = Promise<unknown>;
type Argument = string | number;

/** A connection on which the scripts of this folder are commands: sent as EVALSHA, and as EVAL once per socket. */
export interface ScriptConnection {
  lockAcquire(...keysAndArgs: Argument[]): Reply;
  lockPass(...keysAndArgs: Argument[]): Reply;
  lockRelease(...keysAndArgs: Argument[]): Reply;
  lockProbe(...keysAndArgs: Argument[]): Reply;
  /** The first argument is the number of keys. */
  lockRenew(keyCount: number, ...keysAndArgs: Argument[]): Reply;
}

const FOLDER = new URL('./scripts/', import.meta.url);

const SCRIPTS = {
  lockAcquire: { file: 'acquire', numberOfKeys: 3 },
  lockPass: { file: 'pass', numberOfKeys: 3 },
  lockRelease: { file: 'release', numberOfKeys: 2 },
  lockProbe: { file: 'probe', numberOfKeys: 2 },
  lockRenew: { file: 'renew', numberOfKeys: undefined },
} as const;

export function withScripts<Client extends Redis | Cluster>(
  client: Client,
): Client & ScriptConnection {
  defineScripts(client, FOLDER, SCRIPTS, `${luaSource(FOLDER, 'shared')}\n`);
  return client as Client & ScriptConnection;
}
