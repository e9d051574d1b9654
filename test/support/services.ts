import { aptInstall, canAptInstall } from './apt.js';
import { type ComposeService, hasDockerEngine, startContainer } from './docker.js';
import { startMariadb } from './mariadb.js';
import { startPostgres } from './postgres.js';
import { startRedis } from './redis.js';
import { startZooKeeper } from './zookeeper.js';

export { type OwnDatabase, type OwnPostgres, createDatabase, startPostgres } from './postgres.js';
export { type OwnRedis, type RedisOptions, canStartRedis, startRedis } from './redis.js';
export { type OwnMariadb, canStartMariadb, startMariadb } from './mariadb.js';
export {
  type OwnEnsemble,
  type OwnZooKeeper,
  canStartZooKeeper,
  startEnsemble,
  startZooKeeper,
} from './zookeeper.js';

export type ServiceName = 'redis' | 'postgres' | 'mariadb' | 'zookeeper';

export interface Service {
  readonly name: ServiceName;
  readonly url: string;
  /** Who it belongs to: a `given` server is never emptied, stopped or reconfigured. */
  readonly origin: 'given' | 'binary' | 'container';
  /** Ends what was started here; nothing for a given one. */
  stop(): Promise<void>;
}

/** A service that cannot be had here, with what was tried. */
export interface MissingService {
  readonly name: ServiceName;
  readonly url: null;
  readonly reason: string;
}

interface Recipe {
  /** Environment variable with the URL of a server to use. */
  readonly variable: string;
  start(): Promise<{ readonly url: string; stop(): Promise<void> }>;
  /** `null` where `docker-compose.yml` does not have it. */
  readonly container: ComposeService | null;
  readonly aptPackage: string;
}

const RECIPES: Readonly<Record<ServiceName, Recipe>> = {
  redis: {
    variable: 'REDIS_URL',
    start: () => startRedis(),
    container: {
      name: 'redis',
      portVariable: 'REDIS_PORT',
      url: (port) => `redis://127.0.0.1:${port}`,
    },
    aptPackage: 'redis-server',
  },
  postgres: {
    variable: 'DATABASE_URL',
    start: () => startPostgres(),
    container: {
      name: 'postgres',
      portVariable: 'POSTGRES_PORT',
      url: (port) => `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    },
    aptPackage: 'postgresql',
  },
  mariadb: {
    variable: 'MYSQL_URL',
    start: () => startMariadb(),
    container: {
      name: 'mariadb',
      portVariable: 'MARIADB_PORT',
      url: (port) => `mysql://root@127.0.0.1:${port}/test`,
    },
    aptPackage: 'mariadb-server',
  },
  zookeeper: {
    variable: 'ZOOKEEPER_URL',
    start: () => startZooKeeper(),
    container: {
      name: 'zookeeper',
      portVariable: 'ZOOKEEPER_PORT',
      url: (port) => `127.0.0.1:${port}`,
    },
    aptPackage: 'zookeeper',
  },
};

export type Say = (line: string) => void;

/**
 * Gives a service from the first of these that works: the environment variable; a program of this machine, as a
 * throwaway instance on a free port; a container, where a Docker engine answers; as root on Debian or Ubuntu, the
 * system's package.
 *
 * A server that merely listens on its default port is left alone.
 */
export async function getService(name: ServiceName, say: Say): Promise<Service | MissingService> {
  const recipe = RECIPES[name];
  const { variable, container, aptPackage } = recipe;
  const given = process.env[variable];
  if (given) return { name, url: given, origin: 'given', stop: async () => undefined };

  const failures: string[] = [`${variable} is not set`];
  const attempt = async (
    origin: Service['origin'],
    open: Recipe['start'],
  ): Promise<Service | undefined> => {
    try {
      const { url, stop } = await open();
      return { name, url, origin, stop };
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  };

  const local = await attempt('binary', () => recipe.start());
  if (local) return local;
  if (container && (await hasDockerEngine())) {
    const contained = await attempt('container', () => startContainer(container));
    if (contained) return contained;
  } else {
    failures.push('no Docker engine answers');
  }
  if (canAptInstall()) {
    const installed = await attempt('binary', () => {
      aptInstall(aptPackage, say);
      return recipe.start();
    });
    if (installed) return installed;
  }
  return { name, url: null, reason: failures.join('; ') };
}

export interface Services {
  readonly available: ReadonlyMap<ServiceName, Service>;
  readonly missing: readonly MissingService[];
  stop(): Promise<void>;
}

/**
 * Gets several services at once.
 *
 * @throws {Error} naming what is missing, if `REQUIRE_SERVICES` is `all`. Nothing is left running.
 */
export async function getServices(names: readonly ServiceName[], say: Say): Promise<Services> {
  const all = await Promise.all(names.map((name) => getService(name, say)));
  const available = all.filter((it): it is Service => it.url !== null);
  const missing = all.filter((it): it is MissingService => it.url === null);
  const stop = async () => {
    await Promise.all(available.map((it) => it.stop()));
  };
  if (missing.length > 0 && process.env['REQUIRE_SERVICES'] === 'all') {
    await stop();
    const reasons = missing.map((it) => `${it.name} (${it.reason})`).join('\n');
    throw new Error(`REQUIRE_SERVICES=all, but these services cannot be had: ${reasons}`);
  }
  return { available: new Map(available.map((it) => [it.name, it])), missing, stop };
}
