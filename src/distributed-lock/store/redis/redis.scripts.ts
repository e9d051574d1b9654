import type { Cluster, Redis } from 'ioredis';
import { defineScripts, luaSource } from '../redis-client/redis.script-loader.js';

type Reply = Promise<unknown>;
type Argument = string | number;

/** A connection on which the scripts of this folder are commands: sent as EVALSHA, and as EVAL once per socket. */
export interface ScriptConnection {
  lockKeep(...keysAndArgs: Argument[]): Reply;
  lockProbe(...keysAndArgs: Argument[]): Reply;
  lockState(...keysAndArgs: Argument[]): Reply;
  lockEvict(...keysAndArgs: Argument[]): Reply;
  lineEnter(...keysAndArgs: Argument[]): Reply;
  lineLeave(...keysAndArgs: Argument[]): Reply;
  /** The first argument is the number of keys. */
  lineStay(keyCount: number, ...keysAndArgs: Argument[]): Reply;
  /** In one array, which may be longer than a list of arguments should be. */
  lockRenew(keyCountKeysAndArgs: readonly Argument[]): Reply;
  /** Likewise. */
  lockBatch(keyCountKeysAndArgs: readonly Argument[]): Reply;
}

const FOLDER = new URL('./scripts/', import.meta.url);

const SCRIPTS = {
  lockKeep: { file: 'keep', numberOfKeys: 2 },
  lockProbe: { file: 'probe', numberOfKeys: 2 },
  lockRenew: { file: 'renew', numberOfKeys: undefined },
} as const;

/** Callers of the line, and those who look at whoever is inside. */
const LINE_SCRIPTS = {
  lockState: { file: 'state', numberOfKeys: 2 },
  lockEvict: { file: 'evict', numberOfKeys: 2 },
  lineEnter: { file: 'enter', numberOfKeys: 2 },
  lineLeave: { file: 'leave', numberOfKeys: 2 },
  lineStay: { file: 'stay', numberOfKeys: undefined },
} as const;

/** All commands about single locks are one script; these files make it, in this order. */
const BATCH = ['batch', 'shared', 'line', 'wake', 'acquire', 'pass', 'release'];

export function withScripts<Client extends Redis | Cluster>(
  client: Client,
): Client & ScriptConnection {
  const text = (...files: string[]): string =>
    files.map((file) => `${luaSource(FOLDER, file)}\n`).join('');
  defineScripts(client, FOLDER, SCRIPTS, text('shared'));
  defineScripts(client, FOLDER, LINE_SCRIPTS, text('shared', 'line'));
  const lockBatch = { file: 'run', numberOfKeys: undefined };
  defineScripts(client, FOLDER, { lockBatch }, text(...BATCH));
  return client as Client & ScriptConnection;
}
