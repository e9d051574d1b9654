import type { Client } from 'pg';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { FIND_SEQUENCE, SHOWS } from './postgres.statements.js';

/**
 * @returns the server's process id of this session.
 * @throws {LockConfigurationError} if locks of this session would not exclude anybody, or not be freed.
 */
export async function checkServer(client: Client, sessionPooler: boolean): Promise<number> {
  const { rows } =
    await client.query<Record<'pid' | 'version' | 'replica' | 'read_only', string>>(SHOWS);
  const server = rows[0]!;
  if (Number(server.version) < 140_000) {
    throw new LockConfigurationError(
      `postgresStore needs PostgreSQL 14 or newer, for idle_session_timeout; the server is ${Number(server.version) / 10_000}.`,
    );
  }
  if (server.replica === 'true' || server.read_only === 'on') {
    throw new LockConfigurationError(
      'postgresStore is connected to a read replica or a read-only database: locks there are not seen by the primary. Connect it to the primary.',
    );
  }
  const pid = Number(server.pid);
  // What the server said when the connection was made. A pooler answers for itself there.
  const { processID } = client as Client & { readonly processID?: number | null };
  if (!sessionPooler && processID !== undefined && processID !== null && processID !== pid) {
    throw new LockConfigurationError(
      `postgresStore is connected through a connection pooler (start-up said process ${processID}, the session is ${pid}). In transaction mode ` +
        "its clients share sessions, and so locks. Connect to the server itself; or set pooler: 'session' if the pooler is known to pool whole sessions.",
    );
  }
  return pid;
}

interface Sequence {
  readonly oid: string;
  readonly name: string;
  readonly cache: string;
  readonly increment: string;
  readonly cycle: string;
  readonly type: string;
  readonly usable: string;
}

/**
 * Finds the sequence of turn numbers, or makes it.
 *
 * @throws {LockConfigurationError} if it is missing and cannot be made, or would not grow strictly.
 */
export async function tokenSequence(
  client: Client,
  { sequence, createSequence }: { readonly sequence: string; readonly createSequence: boolean },
): Promise<{ readonly oid: string; readonly name: string }> {
  const quoted = sequence
    .split('.')
    .map((part) => `"${part}"`)
    .join('.');
  let found = await find(client, quoted);
  let cause: unknown;
  if (!found && createSequence) {
    // Two processes that start at the same moment may both try, and one fails: all that counts is that it is there.
    await client
      .query(`CREATE SEQUENCE IF NOT EXISTS ${quoted} AS bigint CACHE 1`)
      .catch((error: unknown) => (cause = error));
    found = await find(client, quoted);
  }
  if (!found) {
    throw new LockConfigurationError(
      `Option "sequence" of postgresStore is ${show(sequence)}, which does not exist and ${createSequence ? 'could not be created' : 'must not be created (createSequence: false)'}. ` +
        `Run: CREATE SEQUENCE ${quoted} AS bigint CACHE 1`,
      { cause },
    );
  }
  const { cache, increment, cycle, type, usable } = found;
  if (cache !== '1' || !(Number(increment) >= 1) || cycle !== 'false' || type !== 'bigint') {
    throw new LockConfigurationError(
      `Sequence ${show(sequence)} of postgresStore is ${type} CACHE ${cache} INCREMENT ${increment}${cycle === 'true' ? ' CYCLE' : ''}; ` +
        'allowed: bigint CACHE 1 with an increment of at least 1 and NO CYCLE. With a cache, sessions draw tokens out of order.',
    );
  }
  if (usable !== 'true') {
    throw new LockConfigurationError(
      `Sequence ${show(sequence)} of postgresStore may not be used by this user. Run: GRANT USAGE ON SEQUENCE ${quoted} TO …`,
    );
  }
  return { oid: found.oid, name: found.name };
}

async function find(client: Client, quoted: string): Promise<Sequence | undefined> {
  return (await client.query<Sequence>(FIND_SEQUENCE, [quoted])).rows[0];
}
