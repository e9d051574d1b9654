import type { Cluster, Redis } from 'ioredis';
import { defineScripts, luaSource } from '../redis-client/redis.script-loader.js';

type Reply = Promise<unknown>;
type Argument = string | number;

/** A connection on which the scripts of this folder are commands: sent as EVALSHA, and as EVAL once per socket. */
export interface ScriptConnection {
  lockAcquire(...keysAndArgs: Argument[]): Reply;
  lockPass(...keysAndArgs: Argument[]): Reply;
  lockRelease(...keysAndArgs: Argument[]): Reply;
  lockKeep(...keysAndArgs: Argument[]): Reply;
  lockProbe(...keysAndArgs: Argument[]): Reply;
  lineEnter(...keysAndArgs: Argument[]): Reply;
  lineLeave(...keysAndArgs: Argument[]): Reply;
  /** The first argument is the number of keys. */
  lineStay(keyCount: number, ...keysAndArgs: Argument[]): Reply;
  /** The first argument is the number of keys. */
  lockRenew(keyCount: number, ...keysAndArgs: Argument[]): Reply;
}

const FOLDER = new URL('./scripts/', import.meta.url);

const SCRIPTS = {
  lockAcquire: { file: 'acquire', numberOfKeys: 3 },
  lockKeep: { file: 'keep', numberOfKeys: 2 },
  lockProbe: { file: 'probe', numberOfKeys: 2 },
  lockRenew: { file: 'renew', numberOfKeys: undefined },
} as const;

/** Those that may let callers of the line in. */
const LINE_SCRIPTS = {
  lockPass: { file: 'pass', numberOfKeys: 3 },
  lockRelease: { file: 'release', numberOfKeys: 2 },
  lineEnter: { file: 'enter', numberOfKeys: 2 },
  lineLeave: { file: 'leave', numberOfKeys: 2 },
  lineStay: { file: 'stay', numberOfKeys: undefined },
} as const;

export function withScripts<Client extends Redis | Cluster>(
  client: Client,
): Client & ScriptConnection {
  const [shared, line] = [luaSource(FOLDER, 'shared'), luaSource(FOLDER, 'line')];
  defineScripts(client, FOLDER, SCRIPTS, `${shared}\n`);
  defineScripts(client, FOLDER, LINE_SCRIPTS, `${shared}\n${line}\n`);
  return client as Client & ScriptConnection;
}
