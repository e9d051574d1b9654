/** Where the application finds its servers. */
export interface AppConfig {
  /** `postgres://user:password@host:port/database`. */
  readonly databaseUrl: string;
  /** `redis://host:port`. `null`: locks live in this process, which sees no other. */
  readonly redisUrl: string | null;
  readonly port: number;
}

/** @throws {Error} naming the variable that is missing or wrong. */
export function configFromEnvironment(env: NodeJS.ProcessEnv = process.env): AppConfig {
  const databaseUrl = env['DATABASE_URL'];
  if (!databaseUrl) {
    throw new Error(
      'DATABASE_URL is not set; expected postgres://user:password@host:port/database.',
    );
  }
  const port = Number(env['PORT'] ?? 3000);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`PORT is "${env['PORT']}"; expected a number from 0 to 65535.`);
  }
  return { databaseUrl, redisUrl: env['REDIS_URL'] || null, port };
}
