import { createHash } from 'node:crypto';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

export const DEFAULT_TOKEN_TABLE = 'distributed_lock_token';

/**
 * Turn numbers are counted in so many rows, however many keys there are: a number grows with every turn of any key that shares its row, so it
 * grows for each key.
 */
const SLOTS = 1_024;

/** The row that counts for a lock: the first digits of its name. */
export function tokenSlot(lock: string): number {
  return createHash('md5').update(lock).digest().readUInt16BE(0) % SLOTS;
}

/** The statement with which `mysqlStore` makes its table of counters, for users who may not create tables at run time. */
export function mysqlTokenTableSql(table: string = DEFAULT_TOKEN_TABLE): string {
  return `CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  slot SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  token BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB`;
}

/**
 * $1 slot. The statement's insert id is the next turn number.
 *
 * (https://dev.mysql.com/doc/refman/8.4/en/information-functions.html#function_last-insert-id)
 */
export function nextTurnSql(table: string): string {
  return (
    `INSERT INTO ${quoted(table)} (slot, token) VALUES (?, LAST_INSERT_ID(1)) ` +
    'ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(token + 1)'
  );
}

/** @throws {LockConfigurationError} unless it is a plain name, which is safe between backticks. */
export function checkTable(value: unknown): string {
  if (typeof value === 'string' && /^[A-Za-z0-9_$]{1,64}$/.test(value)) return value;
  throw new LockConfigurationError(
    `Option "table" of mysqlStore is ${show(value)}; allowed: 1 to 64 of the characters A-Z a-z 0-9 _ $`,
  );
}

function quoted(table: string): string {
  return `\`${checkTable(table)}\``;
}
