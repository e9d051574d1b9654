import type { Connection, RowDataPacket } from 'mysql2';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { mysqlTokenTableSql } from './mysql.token-table.js';

/** Variables of the server that say whether its named locks exclude everybody. */
const TELLING = [
  'version',
  'read_only',
  'super_read_only',
  'innodb_read_only',
  'wsrep_on',
  'wsrep_provider',
  'group_replication_group_name',
  'group_replication_single_primary_mode',
];

/**
 * Why locks of this server would not exclude everybody; `null` where they do.
 *
 * @param variables of `SHOW GLOBAL VARIABLES`, names in lower case.
 */
export function refusal(variables: ReadonlyMap<string, string>): string | null {
  const version = variables.get('version') ?? '';
  if (isTooOld(version)) {
    return `server ${version} lets a session have one named lock only; MySQL 5.7.5 or MariaDB 10.0.2 is the oldest that will do`;
  }
  if (isOn(variables, 'wsrep_on') && variables.get('wsrep_provider') !== 'none') {
    return 'this is a Galera cluster (wsrep_on), where named locks are local to one node';
  }
  const isGroup = (variables.get('group_replication_group_name') ?? '') !== '';
  if (isGroup && !isOn(variables, 'group_replication_single_primary_mode')) {
    return 'this is group replication with several primaries, where named locks are local to one member';
  }
  const readOnly = ['read_only', 'super_read_only', 'innodb_read_only'];
  if (readOnly.some((name) => isOn(variables, name))) {
    return 'this server is read-only, like a replica: locks there are not seen by the primary. Connect to the primary';
  }
  return null;
}

function isOn(variables: ReadonlyMap<string, string>, name: string): boolean {
  return !/^(OFF|0|NO)?$/i.test(variables.get(name) ?? '');
}

function isTooOld(version: string): boolean {
  const numbers = (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
  const [major = 0, minor = 0, patch = 0] = numbers;
  const number = (major * 1_000 + minor) * 1_000 + patch;
  return number < (/mariadb/i.test(version) ? 10_000_002 : 5_007_005);
}

/**
 * @returns the name of the connection's database.
 * @throws {LockConfigurationError} if locks of this session would not exclude everybody.
 */
export async function checkServer(connection: Connection, sessionPooler: boolean): Promise<string> {
  const ask = connection.promise();
  const list = TELLING.map((name) => `'${name}'`).join(', ');
  const [variables] = await ask.query<RowDataPacket[]>(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${list})`,
  );
  const reason = refusal(
    new Map(
      variables.map(({ Variable_name, Value }) => [
        String(Variable_name).toLowerCase(),
        String(Value),
      ]),
    ),
  );
  if (reason !== null) throw new LockConfigurationError(`mysqlStore cannot be used: ${reason}.`);
  const [[session]] = await ask.query<RowDataPacket[]>(
    'SELECT CONNECTION_ID() AS id, DATABASE() AS name',
  );
  const { id, name } = session as { id: number | string; name: string | null };
  if (!sessionPooler && Number(id) % 2 ** 32 !== connection.threadId % 2 ** 32) {
    throw new LockConfigurationError(
      `mysqlStore is connected through a proxy or pooler (the greeting said connection ${connection.threadId}, the session is ${id}), whose clients may ` +
        "share sessions, and so locks. Connect to the server itself; or set pooler: 'session' if the proxy is known to keep a client on one session.",
    );
  }
  if (name !== null) return name;
  throw new LockConfigurationError(
    'Option "connection" of mysqlStore names no database; it is part of the lock names, and has the table of tokens.',
  );
}

/** @throws {LockConfigurationError} if the table of counters is missing and cannot be made, or is another one. */
export async function checkTokenTable(
  connection: Connection,
  { table, createTable }: { readonly table: string; readonly createTable: boolean },
): Promise<void> {
  const ask = connection.promise();
  let cause: unknown;
  let columns = await columnsOf(connection, table);
  if (columns.size === 0 && createTable) {
    await ask.query(mysqlTokenTableSql(table)).catch((error: unknown) => (cause = error)); // told below
    columns = await columnsOf(connection, table);
  }
  if (columns.size === 0) {
    throw new LockConfigurationError(
      `Option "table" of mysqlStore is ${show(table)}, which does not exist and ${createTable ? 'could not be created' : 'must not be created (createTable: false)'}. ` +
        `Run: ${mysqlTokenTableSql(table)}`,
      { cause },
    );
  }
  if (columns.get('slot') !== 'PRI' || !columns.has('token')) {
    throw new LockConfigurationError(
      `Option "table" of mysqlStore is ${show(table)}, which is not a table of tokens. Allowed: a name that is free, or a table made by ${mysqlTokenTableSql(table)}`,
    );
  }
}

/** Kind of key by column. */
async function columnsOf(
  connection: Connection,
  table: string,
): Promise<ReadonlyMap<string, string>> {
  const [rows] = await connection
    .promise()
    .query<RowDataPacket[]>(
      'SELECT COLUMN_NAME AS name, COLUMN_KEY AS kind FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?',
      [table],
    );
  return new Map(rows.map(({ name, kind }) => [String(name).toLowerCase(), String(kind)]));
}
