import { connect } from 'node:net';
import { join } from 'node:path';
import { findBinary, unprivilegedUser } from './binaries.js';
import {
  type Kept,
  type RunAs,
  type Throwaway,
  keptDirectory,
  onFreePort,
  prepare,
  signal,
  startThrowaway,
  temporaryDirectory,
} from './throwaway.js';

/** A MariaDB of the run's own. */
export interface OwnMariadb {
  readonly url: string;
  readonly port: number;
  /** Changes with `restart`. */
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL, and a new server on the same port with the data of the old one. */
  restart(): Promise<void>;
}

export function canStartMariadb(): boolean {
  return findBinary(['mariadbd']) !== undefined && findBinary(['mariadb-install-db']) !== undefined;
}

/** @throws {Error} if this machine has no MariaDB server, or it does not start. */
export async function startMariadb(): Promise<OwnMariadb> {
  const server = findBinary(['mariadbd']);
  const install = findBinary(['mariadb-install-db']);
  if (!server || !install) throw new Error('This machine has no mariadbd.');
  return onFreePort(undefined, (port) => launch(server, install, port));
}

async function launch(command: string, install: string, port: number): Promise<OwnMariadb> {
  const runAs = unprivilegedUser(['mysql']);
  const kept = keptDirectory('mariadb-data', runAs);
  const common = [
    '--no-defaults',
    `--datadir=${join(kept.directory, 'data')}`,
    // Two servers that are set up at the same time would take each other's temporary tables.
    `--tmpdir=${kept.directory}`,
    // Kept by the system's memory, not by the disk: a killed server loses nothing, a machine without power would.
    '--innodb-flush-log-at-trx-commit=2',
  ];
  try {
    const args = [...common, '--auth-root-authentication-method=normal', '--skip-name-resolve'];
    await prepare(kept, { command: install, args, runAs });
    const start = () => launchProcess(command, common, port, runAs, kept);
    let server = await start();
    return {
      url: `mysql://root@127.0.0.1:${port}/test`,
      port,
      get pid() {
        return server.pid;
      },
      async stop() {
        await server.stop();
        await kept.remove();
      },
      async restart() {
        signal(server.pid, 'SIGKILL');
        await server.gone;
        server = await start();
      },
    };
  } catch (error) {
    await kept.remove();
    throw error;
  }
}

function launchProcess(
  command: string,
  common: readonly string[],
  port: number,
  runAs: RunAs | undefined,
  uses: Kept,
): Promise<Throwaway> {
  const directory = temporaryDirectory('mariadb', runAs);
  return startThrowaway({
    name: 'mariadbd',
    command,
    args: [
      ...common,
      '--bind-address=127.0.0.1',
      `--port=${port}`,
      `--socket=${join(directory, 'socket')}`,
      '--max-connections=300',
      '--skip-name-resolve',
    ],
    directory,
    runAs,
    uses,
    isReady: () => greets(port),
  });
}

/** The server speaks first: a packet whose fifth byte is the protocol version, 10. */
async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    return await new Promise<boolean>((resolve) => {
      socket.setTimeout(1_000, () => resolve(false));
      socket.on('error', () => resolve(false));
      socket.on('data', (greeting) => resolve(greeting[4] === 10));
    });
  } finally {
    socket.destroy();
  }
}
