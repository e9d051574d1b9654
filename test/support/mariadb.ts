import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { findBinary, unprivilegedUser } from './binaries.js';
import { onFreePort, startThrowaway, temporaryDirectory } from './throwaway.js';

/** A MariaDB of the run's own. */
export interface OwnMariadb {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
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
  const directory = temporaryDirectory('mariadb', runAs);
  const data = join(directory, 'data');
  const common = [
    '--no-defaults',
    `--datadir=${data}`,
    // Two servers that are set up at the same time would take each other's temporary tables.
    `--tmpdir=${directory}`,
    '--innodb-flush-log-at-trx-commit=0',
  ];
  try {
    execFileSync(
      install,
      [...common, '--auth-root-authentication-method=normal', '--skip-name-resolve'],
      { cwd: directory, stdio: 'pipe', ...runAs },
    );
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  const started = await startThrowaway({
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
    isReady: () => greets(port),
  });
  return {
    url: `mysql://root@127.0.0.1:${port}/test`,
    port,
    pid: started.pid,
    stop: () => started.stop(),
  };
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
