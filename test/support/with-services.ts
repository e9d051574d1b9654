import { describe, inject } from 'vitest';

const GIVEN = {
  redis: () => inject('redisUrl') !== null,
  postgres: () => inject('databaseUrl') !== null,
  /** A Redis that the spec starts itself, with `startRedis`. */
  ownRedis: () => inject('canStartRedis'),
} as const;

/**
 * `describe`, skipped where one of the services cannot be had; the end of the run names it as not tested, and with
 * `REQUIRE_SERVICES=all` the run does not even start.
 */
export function describeWith(
  ...services: (keyof typeof GIVEN)[]
): typeof describe | typeof describe.skip {
  return services.every((it) => GIVEN[it]()) ? describe : describe.skip;
}

export function redisUrl(): string {
  return inject('redisUrl') ?? missing('Redis');
}

export function databaseUrl(): string {
  return inject('databaseUrl') ?? missing('PostgreSQL');
}

function missing(name: string): never {
  throw new Error(`This spec needs ${name}; wrap it in describeWith(…).`);
}
