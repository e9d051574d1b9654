import { type ColumnType, EntitySchema, type MigrationInterface, type QueryRunner } from 'typeorm';
import { show } from '../../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../../distributed-lock.errors.js';
import {
  FENCE_DATABASES,
  type FenceDatabase,
  fenceDatabaseOf,
  fenceDialect,
} from './fence-dialects.js';

/** Name of the table where none is given. */
export const DEFAULT_FENCE_TABLE = 'lock_fence';

/** A row of the fence. Written by locked transactions only. */
export interface LockFenceRow {
  lock_key: string | Buffer;
  token: string;
  nonce: string | Buffer;
  prev_token?: string | null;
  prev_nonce?: Buffer | null;
  updated_at: Date | number;
}

/**
 * The statements that make the table of the fence, for migrations written by hand. They change nothing where the table exists.
 *
 * @param table as it stands in the statement: quote it, and put its schema before it, where that is needed.
 * @throws {LockConfigurationError} for a database without a fence.
 */
export function fenceDdl(database: FenceDatabase, table = DEFAULT_FENCE_TABLE): readonly string[] {
  return fenceDialect(known(database)).ddl(table);
}

type FenceColumn = { readonly type: ColumnType } & Record<string, unknown>;

const COLUMNS: Readonly<Record<FenceDatabase, Readonly<Record<string, FenceColumn>>>> = {
  postgres: {
    lock_key: { type: 'text', primary: true },
    token: { type: 'bigint' },
    nonce: { type: 'uuid' },
    updated_at: { type: 'timestamptz', default: () => 'now()' },
  },
  mariadb: innoDb(),
  mysql: innoDb(),
  sqlite: {
    lock_key: { type: 'text', primary: true },
    token: { type: 'integer' },
    nonce: { type: 'text' },
    updated_at: { type: 'integer' },
  },
};

function innoDb(): Readonly<Record<string, FenceColumn>> {
  const now = 'CURRENT_TIMESTAMP(6)';
  return {
    lock_key: { type: 'varbinary', length: 1200, primary: true },
    token: { type: 'bigint', unsigned: true },
    nonce: { type: 'binary', length: 16 },
    prev_token: { type: 'bigint', unsigned: true, nullable: true },
    prev_nonce: { type: 'binary', length: 16, nullable: true },
    updated_at: { type: 'timestamp', precision: 6, default: () => now, onUpdate: now },
  };
}

/**
 * The table of the fence as an entity, for `migration:generate`: put it into the DataSource's `entities`.
 *
 * @throws {LockConfigurationError} for a database without a fence.
 */
export function lockFenceEntity(
  database: FenceDatabase,
  table = DEFAULT_FENCE_TABLE,
): EntitySchema<LockFenceRow> {
  return new EntitySchema<LockFenceRow>({
    name: 'LockFence',
    tableName: table,
    columns: COLUMNS[known(database)],
  });
}

/** Makes the table `lock_fence`. A migration to put into the DataSource's `migrations`. */
export class LockFenceMigration1735689600000 implements MigrationInterface {
  readonly name = 'LockFenceMigration1735689600000';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of fenceDdl(databaseOf(runner), tableIn(runner)))
      await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE ${tableIn(runner)}`);
  }
}

/** In the schema of the DataSource, where its own entities are. */
function tableIn(runner: QueryRunner): string {
  const { driver, options } = sourceOf(runner);
  const { schema } = options as { readonly schema?: string };
  return [schema, DEFAULT_FENCE_TABLE]
    .filter((part) => part !== undefined)
    .map((part) => driver.escape(part))
    .join('.');
}

function databaseOf(runner: QueryRunner): FenceDatabase {
  const { type } = sourceOf(runner).options;
  const database = fenceDatabaseOf(type);
  if (database !== null) return database;
  throw new LockConfigurationError(
    `The migration LockFenceMigration cannot make the fence of a DataSource of type ${show(type)}; allowed: ${FENCE_DATABASES.join(', ')}. ` +
      'Write a migration with the statements of your own FenceDialect.',
  );
}

/** TypeORM 0.3 calls it `connection`. */
function sourceOf(runner: QueryRunner): QueryRunner['dataSource'] {
  return (
    (runner as { readonly dataSource?: QueryRunner['dataSource'] }).dataSource ?? runner.connection
  );
}

function known(database: FenceDatabase): FenceDatabase {
  if (FENCE_DATABASES.includes(database)) return database;
  throw new LockConfigurationError(
    `The database of the fence is ${show(database)}; allowed: ${FENCE_DATABASES.map(show).join(', ')}.`,
  );
}
