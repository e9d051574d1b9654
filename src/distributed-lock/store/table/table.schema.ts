import { EntitySchema } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { dialectOf, type LockTableType } from './table.dialect.js';

export const DEFAULT_TABLE = 'distributed_lock';

/**
 * A row of the table.
 *
 * | column        | meaning |
 * |---------------|---------|
 * | `id`          | SHA-256 of namespace and key |
 * | `name`        | the same to read, cut to 255 characters |
 * | `owner`       | who holds it; empty: nobody |
 * | `turn`        | grows with each turn; a thousand fencing tokens belong to one |
 * | `expires_at`  | end of the lease, or when it was released; database clock, ms since 1970 |
 * | `waiter`      | the process that waits and goes next |
 * | `waits_until` | how long that counts |
 */
export const COLUMNS = [
  'id',
  'name',
  'owner',
  'turn',
  'expires_at',
  'waiter',
  'waits_until',
] as const;

/** The statement with which `tableStore` makes its table, for users who may not create tables at run time. */
export function lockTableSql(type: LockTableType, table: string = DEFAULT_TABLE): string {
  const { idType, textType, tableOptions, native } = dialectOf(type);
  return native(`CREATE TABLE IF NOT EXISTS ${quotedTable(table)} (
  id ${idType} NOT NULL PRIMARY KEY,
  name ${textType} NOT NULL,
  owner ${idType} NOT NULL,
  turn bigint NOT NULL,
  expires_at bigint NOT NULL,
  waiter ${idType} NOT NULL,
  waits_until bigint NOT NULL
)${tableOptions}`);
}

/** The table as an entity, for users whose migrations are generated from entities: add it to `entities` of the DataSource. */
export function lockTableEntity(table: string = DEFAULT_TABLE): EntitySchema {
  const [name = '', schema] = checkTable(table).split('.').toReversed();
  const id = { type: 'varchar', length: 64 } as const;
  return new EntitySchema({
    name: `DistributedLock:${table}`,
    tableName: name,
    ...(schema !== undefined && { schema }),
    columns: {
      id: { ...id, primary: true },
      name: { type: 'varchar', length: 255 },
      owner: id,
      turn: { type: 'bigint' },
      expires_at: { type: 'bigint' },
      waiter: id,
      waits_until: { type: 'bigint' },
    },
  });
}

/** @throws {LockConfigurationError} unless it is a plain name, which is safe between quotes. */
export function checkTable(value: unknown): string {
  if (typeof value === 'string' && /^(\w{1,63}\.)?\w{1,63}$/.test(value)) return value;
  throw new LockConfigurationError(
    `Option "table" of tableStore is ${show(value)}; allowed: a name or schema.name of letters, digits and _, at most 63 each.`,
  );
}

export function quotedTable(table: string): string {
  return checkTable(table)
    .split('.')
    .map((part) => `"${part}"`)
    .join('.');
}
