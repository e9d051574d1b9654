import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { until } from './until.js';

const KEEPER = fileURLToPath(new URL('keeper.mjs', import.meta.url));

/** A user of this machine that a server runs as; `undefined` stands for the current one. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

export interface ServerCommand {
  /** For errors: `redis-server`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Removed with everything in it when the server is gone. */
  readonly directory: string;
  readonly runAs?: RunAs | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Default `SIGTERM`. */
  readonly stopSignal?: NodeJS.Signals;
  /** A directory of others that the server writes into: it stays as long as the server lives. */
  readonly uses?: Kept | undefined;
  /** Rejects or answers `false` while the server is not ready. */
  isReady(): Promise<boolean>;
}

/** A server that lives no longer than this process. */
export interface Throwaway {
  readonly pid: number;
  /** Resolves when the server is gone, for whatever reason, and its directory is removed. */
  readonly gone: Promise<void>;
  /** Asks the server to stop. Resolves when it is gone. */
  stop(): Promise<void>;
}

/**
 * Starts a server in the foreground, under a keeper that ends it with this process.
 *
 * @throws {Error} with the end of the server's log if it ends or is not ready within 30 s.
 */
export async function startThrowaway(server: ServerCommand): Promise<Throwaway> {
  const log = join(server.directory, 'server.log');
  const task = {
    command: server.command,
    args: server.args,
    uid: server.runAs?.uid,
    gid: server.runAs?.gid,
    cwd: server.directory,
    env: server.env,
    stopSignal: server.stopSignal,
    log,
    remove: server.directory,
  };
  const keeper = startKeeper(task, server.uses);
  let ended: string | undefined;
  void keeper.ended.then((how) => (ended = how));
  let lastWords = '';
  try {
    const pid = await keeper.pid;
    await until(
      `${server.name} to be ready`,
      async () => {
        lastWords = tail(log) || lastWords;
        if (ended !== undefined) throw new Error(`it ended with ${ended}`);
        return server.isReady().catch(() => false);
      },
      { deadlineMs: 30_000 },
    );
    return { pid, gone: keeper.gone, stop: () => keeper.stop() };
  } catch (cause) {
    await keeper.stop();
    throw new Error(`${server.name} could not be started: ${String(cause)}\n${lastWords}`, {
      cause,
    });
  }
}

/** What prepares a kept directory for a server: `initdb`. */
export type Preparation = Pick<ServerCommand, 'command' | 'args' | 'runAs' | 'env'>;

/**
 * Runs a program to its end, in a directory that it fills, under a keeper that ends it with this process.
 *
 * @throws {Error} with what it printed if it fails.
 */
export async function prepare(kept: Kept, program: Preparation): Promise<void> {
  const log = join(kept.directory, 'prepare.log');
  const { command, args, runAs, env } = program;
  const task = { command, args, ...runAs, env, cwd: kept.directory, log };
  const keeper = startKeeper(task, kept);
  keeper.pid.catch(() => undefined); // `ended` says it, too
  let how: string | undefined;
  void keeper.ended.then((it) => (how = it));
  try {
    await until(`${command} to end`, () => how !== undefined, { deadlineMs: 60_000 });
  } finally {
    await keeper.stop();
  }
  if (how !== 'exit code 0') throw new Error(`${command} ended with ${how}\n${tail(log)}`);
}

export interface Keeper {
  readonly pid: Promise<number>;
  /** How the server ended: an exit code or a signal. */
  readonly ended: Promise<string>;
  readonly gone: Promise<void>;
  /** The keeper stops when nobody has it open any more: this process, and those that inherited it. */
  readonly lifeline: Writable;
  stop(): Promise<void>;
}

/**
 * @param task see `keeper.mjs`.
 * @param uses what the keeper and its server may write into.
 */
export function startKeeper(task: object, uses?: Kept): Keeper {
  const argument = JSON.stringify({ ...task, lifeline: uses !== undefined });
  const child = spawn(process.execPath, [KEEPER, argument], {
    stdio: ['pipe', 'pipe', 'inherit', ...(uses ? [uses.lifeline] : [])],
    detached: true,
  }) as ChildProcessByStdio<Writable, Readable, null>;
  let endedWith: (how: string) => void;
  const ended = new Promise<string>((resolve) => (endedWith = resolve));
  const pid = new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as {
        pid?: number;
        exit?: number | null;
        signal?: string | null;
      };
      if (said.pid !== undefined) return resolve(said.pid);
      const how = said.signal ?? `exit code ${said.exit}`;
      endedWith(how);
      reject(new Error(how));
    });
    child.on('error', reject);
  });
  const gone = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  child.on('close', () => endedWith('its keeper'));
  pid.then(
    () => leaveInBackground(child),
    () => leaveInBackground(child), // its owner learns why from `pid`
  );
  return {
    pid,
    ended,
    gone,
    lifeline: child.stdin,
    stop: () => {
      child.ref();
      child.stdin.end();
      return gone;
    },
  };
}

/** The keeper does not keep this process alive; its end of the pipe does the rest. */
function leaveInBackground(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout]) {
    (stream as unknown as { unref(): void }).unref();
    stream?.on('error', () => undefined); // the keeper is gone; `gone` says so
  }
}

/** A new directory under the system's temporary one, owned by the user that will write into it. */
export function temporaryDirectory(name: string, owner?: RunAs): string {
  const directory = mkdtempSync(join(tmpdir(), `distributed-lock-${name}-`));
  if (owner) chownSync(directory, owner.uid, owner.gid);
  return directory;
}

/**
 * A directory that outlives the servers that use it, one after the other, but not this process. A server that ends because this process
 * was killed still writes for a while; what it writes after a removal would stay for ever. So it is removed when the last of those that
 * have its lifeline is gone.
 */
export interface Kept {
  readonly directory: string;
  readonly lifeline: Writable;
  /** Whoever still uses it. */
  remove(): Promise<void>;
}

export function keptDirectory(name: string, owner?: RunAs): Kept {
  const directory = temporaryDirectory(name, owner);
  const keeper = startKeeper({ remove: directory });
  return {
    directory,
    lifeline: keeper.lifeline,
    async remove() {
      await keeper.pid;
      await keeper.stop();
    },
  };
}

/** For a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A port that was free a moment ago on 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Starts a server on a free port; once more on another one if somebody took the port in between.
 *
 * @param port used as it is when given.
 */
export async function onFreePort<T>(
  port: number | undefined,
  start: (port: number) => Promise<T>,
): Promise<T> {
  if (port !== undefined) return start(port);
  try {
    return await start(await freePort());
  } catch (error) {
    if (!/address already in use/i.test(String(error))) throw error;
    return start(await freePort());
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-12).join('\n');
  } catch {
    return ''; // not written yet
  }
}
