import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { findBinary, unprivilegedUser } from '../support/binaries.js';
import { onFreePort, startThrowaway, temporaryDirectory } from '../support/throwaway.js';

export interface PgBouncer {
  readonly url: string;
  stop(): Promise<void>;
}

/** @throws {Error} where this machine has none: see `canStartPgBouncer`. */
export function startPgBouncer(url: string, mode: 'session' | 'transaction'): Promise<PgBouncer> {
  const program = findBinary(['pgbouncer']);
  if (!program) throw new Error('This machine has no pgbouncer.');
  return onFreePort(undefined, (port) => launch(program, url, mode, port));
}

async function launch(
  command: string,
  serverUrl: string,
  mode: string,
  port: number,
): Promise<PgBouncer> {
  const runAs = unprivilegedUser(['postgres']);
  const directory = temporaryDirectory('pgbouncer', runAs);
  const server = new URL(serverUrl);
  const ini = join(directory, 'pgbouncer.ini');
  writeFileSync(
    ini,
    `[databases]
* = host=${server.hostname} port=${server.port} user=${server.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
default_pool_size = 5
ignore_startup_parameters = extra_float_digits
`,
  );
  if (runAs) chownSync(ini, runAs.uid, runAs.gid);
  const url = new URL(serverUrl);
  url.port = String(port);
  const started = await startThrowaway({
    name: 'pgbouncer',
    command,
    args: [ini],
    directory,
    runAs,
    isReady: () => answers(url.href),
  });
  return { url: url.href, stop: () => started.stop() };
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  client.on('error', () => undefined); // reported by the query itself
  await client.connect();
  await client.query('SELECT 1');
  await client.end();
  return true;
}
