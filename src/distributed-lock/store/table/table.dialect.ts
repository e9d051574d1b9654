import type { QueryResult } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/** Kinds of TypeORM DataSource that the lock table works on. */
export type LockTableType = 'postgres' | 'mysql' | 'mariadb' | 'better-sqlite3';

/** What differs between databases. SQL of the store is written with `?` and with `"` around names. */
export interface TableDialect {
  /** The server's clock in whole milliseconds since 1970, which no time zone and no client can change. */
  readonly now: string;
  /** The greater of two values. */
  readonly greatest: string;
  /** Type of the columns for ids; compared byte by byte. */
  readonly idType: string;
  /** Type of a column for any text. */
  readonly textType: string;
  readonly tableOptions: string;
  /** Inserts a row, or does nothing if its id exists. */
  readonly insertNew: (into: string) => string;
  /** The value of a column that a statement sets, to be read by {@link turnOf}. */
  readonly told: (expression: string) => string;
  /** Follows a statement that sets a {@link told} column `turn`. */
  readonly tellTurn: string;
  /** @returns the turn that the statement set; `null` if it changed no row. */
  readonly turnOf: (result: QueryResult) => bigint | null;
  /** The statement as the driver takes it. */
  readonly native: (sql: string) => string;
  /** A question whose answer is a number other than 0 where the server does not take writes; `null` where a write says so. */
  readonly isReadOnly: string | null;
}

function returned({ records }: QueryResult): bigint | null {
  const [row] = (records ?? []) as { readonly turn: string | number }[];
  return row === undefined ? null : BigInt(row.turn);
}

const RETURNING: Pick<TableDialect, 'insertNew' | 'told' | 'tellTurn' | 'turnOf'> = {
  insertNew: (into) => `INSERT INTO ${into} ON CONFLICT (id) DO NOTHING`,
  told: (expression) => expression,
  tellTurn: ' RETURNING turn',
  turnOf: returned,
};

const POSTGRES: TableDialect = {
  ...RETURNING,
  // Not now(): that is when the transaction began.
  now: '(extract(epoch FROM clock_timestamp()) * 1000)::bigint',
  greatest: 'GREATEST',
  idType: 'varchar(64) COLLATE "C"',
  textType: 'varchar(255)',
  tableOptions: '',
  native(sql) {
    let index = 0;
    return sql.replaceAll('?', () => `$${(index += 1)}`);
  },
  isReadOnly: null,
};

const MYSQL: TableDialect = {
  // Not UNIX_TIMESTAMP(…): it goes by way of local time, where an hour a year happens twice.
  now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000",
  greatest: 'GREATEST',
  idType: 'varchar(64) CHARACTER SET ascii COLLATE ascii_bin',
  textType: 'varchar(255) CHARACTER SET utf8mb4',
  tableOptions: ' ENGINE = InnoDB',
  insertNew: (into) => `INSERT IGNORE INTO ${into}`,
  // https://dev.mysql.com/doc/refman/8.4/en/information-functions.html#function_last-insert-id
  told: (expression) => `LAST_INSERT_ID(${expression})`,
  tellTurn: '',
  turnOf({ affected, raw }) {
    return affected === 1 ? BigInt((raw as { insertId: number | string }).insertId) : null;
  },
  native: (sql) => sql.replaceAll('"', '`'),
  isReadOnly: 'SELECT @@global.read_only AS answer',
};

const SQLITE: TableDialect = {
  ...RETURNING,
  now: "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
  greatest: 'MAX',
  idType: 'varchar(64)',
  textType: 'varchar(255)',
  tableOptions: '',
  native: (sql) => sql,
  isReadOnly: null,
};

const DIALECTS: Readonly<Record<LockTableType, TableDialect>> = {
  postgres: POSTGRES,
  mysql: MYSQL,
  mariadb: MYSQL,
  'better-sqlite3': SQLITE,
};

/** @throws {LockConfigurationError} for a kind of database that the store was not tested with. */
export function dialectOf(type: string): TableDialect {
  if (type in DIALECTS) return DIALECTS[type as LockTableType];
  throw new LockConfigurationError(
    `Option "dataSource" of tableStore has the type ${show(type)}; allowed: ${Object.keys(DIALECTS).map(show).join(', ')}.`,
  );
}
