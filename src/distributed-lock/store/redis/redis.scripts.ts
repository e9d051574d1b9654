import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

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

const SCRIPTS = {
  lockAcquire: { file: 'acquire', numberOfKeys: 3 },
  lockPass: { file: 'pass', numberOfKeys: 3 },
  lockRelease: { file: 'release', numberOfKeys: 2 },
  lockProbe: { file: 'probe', numberOfKeys: 2 },
  lockRenew: { file: 'renew', numberOfKeys: undefined },
} as const;

const source = (file: string): string =>
  readFileSync(new URL(`./scripts/${file}.lua`, import.meta.url), 'utf8');

export function withScripts<Client extends Redis>(client: Client): Client & ScriptConnection {
  const shared = source('shared');
  for (const [name, { file, numberOfKeys }] of Object.entries(SCRIPTS)) {
    const lua = `${shared}\n${source(file)}`;
    client.defineCommand(name, numberOfKeys === undefined ? { lua } : { lua, numberOfKeys });
  }
  return client as Client & ScriptConnection;
}
