/** Where locks can live. */
export const STORE_NAMES = [
  'redis',
  'redlock',
  'zookeeper',
  'postgres',
  'mysql',
  'table',
  'memory',
] as const;

export type StoreName = (typeof STORE_NAMES)[number];

/** Where the application finds its servers. */
export interface AppConfig {
  /** `postgres://user:password@host:port/database`. */
  readonly databaseUrl: string;
  /** Where locks live; `memory` sees this process alone. */
  readonly store: StoreName;
  /** Address of the store (of `redlock` several, with commas); of `postgres` and `table`, that of the database. `null` for `memory`. */
  readonly storeUrl: string | null;
  readonly port: number;
}

const STORE_VARIABLES: Readonly<Record<StoreName, string | null>> = {
  redis: 'REDIS_URL',
  redlock: 'REDLOCK_URLS',
  zookeeper: 'ZOOKEEPER_URL',
  postgres: 'DATABASE_URL',
  mysql: 'MYSQL_URL',
  table: 'DATABASE_URL',
  memory: null,
};

/**
 * Reads `DATABASE_URL`, `STORE` (default: `redis` where `REDIS_URL` is set, else `memory`), the variable of that store, and `PORT`.
 *
 * @throws {Error} naming the variable that is missing or wrong.
 */
export function configFromEnvironment(env: NodeJS.ProcessEnv = process.env): AppConfig {
  const databaseUrl = required(env, 'DATABASE_URL', 'postgres://user:password@host:port/database');
  const store = storeName(env['STORE'] || (env['REDIS_URL'] ? 'redis' : 'memory'));
  const variable = STORE_VARIABLES[store];
  const storeUrl =
    variable === null ? null : required(env, variable, `the address of the ${store} store`);
  const port = Number(env['PORT'] ?? 3000);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`PORT is "${env['PORT']}"; expected a number from 0 to 65535.`);
  }
  return { databaseUrl, store, storeUrl, port };
}

/** @throws {Error} naming what is allowed. */
export function storeName(text: string): StoreName {
  const name = STORE_NAMES.find((it) => it === text);
  if (name) return name;
  throw new Error(`The store is "${text}"; allowed: ${STORE_NAMES.join(', ')}.`);
}

function required(env: NodeJS.ProcessEnv, variable: string, expected: string): string {
  const value = env[variable];
  if (value) return value;
  throw new Error(`${variable} is not set; expected ${expected}.`);
}
