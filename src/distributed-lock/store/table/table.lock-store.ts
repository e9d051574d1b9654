import { randomBytes } from 'node:crypto';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import type { LockStore } from '../lock-store.js';
import { QueueingLockStore, TURN_GRANTS } from '../queueing.lock-store.js';
import { TableBackend } from './table.backend.js';
import { checkDataSource, TableConnection } from './table.connection.js';
import type { LockTableType } from './table.dialect.js';
import { TableRows } from './table.rows.js';
import { checkTable, DEFAULT_TABLE } from './table.schema.js';

/** Options of {@link tableStore}. Times are milliseconds, or a text such as `'2s'`. */
export interface TableStoreOptions {
  /**
   * A TypeORM DataSource, or the options of one: PostgreSQL, MySQL, MariaDB, or SQLite in a file. The store opens connections of its own with
   * the same address and credentials; a DataSource that is passed in is neither used nor changed, and need not be initialized.
   */
  readonly dataSource: DataSource | DataSourceOptions;
  /** Name of the table: `name` or `schema.name`. Default `'distributed_lock'`. */
  readonly table?: string;
  /** Create the table at boot if it is missing; see `lockTableSql()` and `lockTableEntity()`. Default `true`. */
  readonly createTable?: boolean;
  /** Connections of the store: 1 to 10. Default `2`. */
  readonly connections?: number;
  /** How long a statement may take before it counts as failed. Default `'2s'`. */
  readonly commandTimeout?: Duration;
  /** Longest pause between two looks at a busy key. The pauses start at 5 ms and grow at random. 10 ms or more. Default `'250ms'`. */
  readonly longestPause?: Duration;
  /** How long a row is kept after its last use. At least one hour. Default `'24h'`. */
  readonly keepRows?: Duration;
  /** Callers of one process served in a row before another waiting process gets its turn: 1 to 1000. Default `32`. */
  readonly turnGrants?: number;
  /** The same as a time. Default `'50ms'`. */
  readonly turnTime?: Duration;
}

const OPTIONS = [
  'dataSource',
  'table',
  'createTable',
  'connections',
  'commandTimeout',
  'longestPause',
  'keepRows',
  'turnGrants',
  'turnTime',
] as const;

/** Turn numbers start at the clock when a row is made anew: it must have passed the numbers of the row before. */
const SHORTEST_KEEP_MS = 3_600_000;

/**
 * A row per key in a table of a PostgreSQL, MySQL, MariaDB or SQLite database; works through poolers and proxies.
 *
 * A grant is a lease by the database's clock, renewed while held. See `docs/stores/table.md`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function tableStore(options: TableStoreOptions): LockStore {
  refuseUnknownOptions('tableStore.', options, OPTIONS);
  const dataSource = checkDataSource(options.dataSource);
  const table = checkTable(options.table ?? DEFAULT_TABLE);
  const connection = new TableConnection(dataSource, {
    connections: wholeNumber('connections', options.connections ?? 2, 10),
    commandTimeoutMs: durationMs('tableStore.commandTimeout', options.commandTimeout ?? 2_000, 10),
  });
  // Lower case: some collations fold it.
  const processId = randomBytes(12).toString('hex');
  const backend = new TableBackend(connection, new TableRows(connection, table, processId), {
    type: dataSource.type as LockTableType,
    table,
    createTable: booleanOption('tableStore.createTable', options.createTable, true),
    longestPauseMs: durationMs('tableStore.longestPause', options.longestPause ?? 250, 10),
    keepRowsMs: durationMs('tableStore.keepRows', options.keepRows ?? '24h', SHORTEST_KEEP_MS),
  });
  return new QueueingLockStore(backend, processId, {
    maxGrants: wholeNumber('turnGrants', options.turnGrants ?? TURN_GRANTS, 1_000),
    maxTimeMs: durationMs('tableStore.turnTime', options.turnTime ?? 50, 0),
  });
}

function wholeNumber(option: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new LockConfigurationError(
    `Option "${option}" of tableStore is ${show(value)}; allowed: a whole number from 1 to ${most}.`,
  );
}
