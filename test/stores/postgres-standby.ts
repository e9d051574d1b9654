import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { unprivilegedUser } from '../support/binaries.js';
import { embeddedBinaries, readableFor, systemBinaries } from '../support/postgres-binaries.js';
import { onFreePort, startThrowaway, temporaryDirectory } from '../support/throwaway.js';

/** Starts a PostgreSQL that believes it is a hot standby: in recovery, and open for reading. */
export function startStandby(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  return onFreePort(undefined, launch);
}

async function launch(port: number) {
  const found = embeddedBinaries() ?? systemBinaries();
  if (!found) throw new Error('There are no PostgreSQL binaries for this platform.');
  const user = unprivilegedUser(['postgres']);
  const directory = temporaryDirectory('standby', user);
  const binaries = readableFor(user, found, directory);
  const data = join(directory, 'data');
  const env = { LC_ALL: 'C', TZ: 'UTC' };
  execFileSync(
    join(binaries, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync'],
    {
      cwd: directory,
      env: { ...process.env, ...env },
      stdio: 'pipe',
      ...user,
    },
  );
  writeFileSync(join(data, 'standby.signal'), '');
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const server = await startThrowaway({
    name: 'postgres',
    command: join(binaries, 'postgres'),
    args: [
      '-D',
      data,
      '-p',
      String(port),
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'unix_socket_directories=',
    ],
    directory,
    runAs: user,
    env,
    stopSignal: 'SIGINT',
    isReady: () => isInRecovery(url),
  });
  return { url, stop: () => server.stop() };
}

async function isInRecovery(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  client.on('error', () => undefined); // reported by the query itself
  await client.connect();
  const { rows } = await client.query<{ yes: boolean }>('SELECT pg_is_in_recovery() AS yes');
  await client.end();
  return rows[0]!.yes;
}
