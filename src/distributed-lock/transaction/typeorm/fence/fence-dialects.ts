import type { FenceDialect } from './fence-dialect.js';
import { MariaDbFenceDialect, MySqlFenceDialect } from './mysql.fence-dialect.js';
import { PostgresFenceDialect } from './postgres.fence-dialect.js';
import { SqliteFenceDialect } from './sqlite.fence-dialect.js';

/** Databases that this package has a fence for. */
export type FenceDatabase = 'postgres' | 'mariadb' | 'mysql' | 'sqlite';

export const FENCE_DATABASES: readonly FenceDatabase[] = ['postgres', 'mariadb', 'mysql', 'sqlite'];

const DIALECTS: Readonly<Record<FenceDatabase, FenceDialect>> = {
  postgres: new PostgresFenceDialect(),
  mariadb: new MariaDbFenceDialect(),
  mysql: new MySqlFenceDialect(),
  sqlite: new SqliteFenceDialect(),
};

export function fenceDialect(database: FenceDatabase): FenceDialect {
  return DIALECTS[database];
}

/** @returns `null` for types of DataSources that need a dialect of the application's own. */
export function fenceDatabaseOf(dataSourceType: string): FenceDatabase | null {
  if (dataSourceType === 'better-sqlite3') return 'sqlite';
  return FENCE_DATABASES.find((database) => database === dataSourceType) ?? null;
}
