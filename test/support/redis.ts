import { connect } from 'node:net';
import { findBinary } from './binaries.js';
import {
  type Kept,
  type Throwaway,
  keptDirectory,
  onFreePort,
  signal,
  startThrowaway,
  temporaryDirectory,
} from './throwaway.js';

export interface RedisOptions {
  /** Further arguments of `redis-server`: `['--maxmemory', '1mb']`. */
  readonly args?: readonly string[];
  /** Default: a free one. */
  readonly port?: number;
  /** Every write is on disk before it is answered (`appendfsync always`), and `restart` finds it again. Default: nothing is written to disk. */
  readonly durable?: boolean;
}

/** A Redis of the test's own, to be killed, frozen and emptied as it likes. */
export interface OwnRedis {
  readonly url: string;
  readonly port: number;
  /** Changes with `restart`. */
  readonly pid: number;
  /** Ends it in order. Also after `kill` and `freeze`. */
  stop(): Promise<void>;
  /** SIGKILL. Resolves when the port is closed. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** A new server on the same port that has lost everything, unless it is durable; kills the old one if it still runs. */
  restart(): Promise<void>;
}

const BINARIES = ['redis-server', 'valkey-server'];

export function canStartRedis(): boolean {
  return findBinary(BINARIES) !== undefined;
}

/** @throws {Error} if this machine has no `redis-server`, or it does not start. */
export async function startRedis(options: RedisOptions = {}): Promise<OwnRedis> {
  const binary = findBinary(BINARIES);
  if (!binary) throw new Error('This machine has no redis-server.');
  return onFreePort(options.port, async (port) => {
    const data = options.durable ? keptDirectory('redis-data') : null;
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir'];
    const args = [...(options.args ?? []), ...(data ? [...durable, data.directory] : [])];
    const start = () => launch(binary, port, args, data);
    let server = await start();
    const kill = async () => {
      signal(server.pid, 'SIGKILL');
      await server.gone;
    };
    return {
      url: `redis://127.0.0.1:${port}`,
      port,
      get pid() {
        return server.pid;
      },
      async stop() {
        await server.stop();
        await data?.remove();
      },
      kill,
      freeze: () => signal(server.pid, 'SIGSTOP'),
      thaw: () => signal(server.pid, 'SIGCONT'),
      async restart() {
        await kill();
        server = await start();
      },
    };
  });
}

function launch(
  binary: string,
  port: number,
  args: readonly string[],
  data: Kept | null,
): Promise<Throwaway> {
  const directory = temporaryDirectory('redis');
  const place = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory];
  const inMemory = ['--save', '', '--appendonly', 'no', '--daemonize', 'no'];
  return startThrowaway({
    name: 'redis-server',
    command: binary,
    args: [...place, ...inMemory, ...args],
    directory,
    uses: data ?? undefined,
    isReady: () => answersPing(port),
  });
}

/** An answer of any kind counts: a server that wants a password first is up, too. */
async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    return await new Promise<boolean>((resolve) => {
      socket.setTimeout(1_000, () => resolve(false));
      socket.on('error', () => resolve(false));
      socket.on('data', (reply) => resolve(/^(\+PONG|-NOAUTH|-DENIED)/.test(reply.toString())));
      socket.write('PING\r\n');
    });
  } finally {
    socket.destroy();
  }
}
