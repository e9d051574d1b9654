import type { TestProject } from 'vitest/node';
import { getProgram } from './programs.js';
import {
  canStartMariadb,
  canStartRedis,
  canStartZooKeeper,
  getServices,
  type Services,
} from './services.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** `null` where it cannot be had. Shared by all specs: use an own namespace, never empty it. */
    redisUrl: string | null;
    /** `null` where it cannot be had. Shared by all specs: use `createDatabase`. */
    databaseUrl: string | null;
    /** MariaDB or MySQL, with a database. `null` where it cannot be had. Shared by all specs: use own table names. */
    mysqlUrl: string | null;
    /** A connect string. `null` where it cannot be had. Shared by all specs: use an own namespace, never empty it. */
    zookeeperUrl: string | null;
    /** Whether a spec may start a Redis of its own, to kill and freeze it. */
    canStartRedis: boolean;
    /** Whether a spec may start ZooKeeper servers of its own, to kill and freeze them. */
    canStartZooKeeper: boolean;
    /** Whether a spec may start a MariaDB of its own, to kill it and to switch it to read-only. */
    canStartMariadb: boolean;
    /** Whether a spec may put a PgBouncer in front of PostgreSQL. */
    canStartPgBouncer: boolean;
  }
}

const say = (line: string) => process.stderr.write(`${line}\n`);

/** The servers of a run, in whose process the set-up of every Vitest project is a module of its own. */
interface Run {
  servers?: { readonly services: Services; users: number } | undefined;
}
const run: Run = ((globalThis as Record<symbol, unknown>)[Symbol.for('servers of this run')] ??=
  {});

/** One server of each kind for the run, shared by the projects that need them; the last one takes them away. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  run.servers ??= {
    services: await getServices(['redis', 'postgres', 'mariadb', 'zookeeper'], say),
    users: 0,
  };
  const { servers } = run;
  const { services } = servers;
  servers.users += 1;
  project.provide('redisUrl', services.available.get('redis')?.url ?? null);
  project.provide('databaseUrl', services.available.get('postgres')?.url ?? null);
  project.provide('mysqlUrl', services.available.get('mariadb')?.url ?? null);
  project.provide('zookeeperUrl', services.available.get('zookeeper')?.url ?? null);
  project.provide('canStartRedis', canStartRedis());
  project.provide('canStartZooKeeper', canStartZooKeeper());
  project.provide('canStartMariadb', canStartMariadb());
  const pgbouncer = getProgram('pgbouncer', say);
  project.provide('canStartPgBouncer', pgbouncer);

  return async () => {
    servers.users -= 1;
    if (servers.users > 0) return;
    run.servers = undefined;
    await services.stop();
    for (const { name, reason } of services.missing) say(`not tested: ${name} (${reason})`);
    if (!canStartRedis())
      say('not tested: faults of Redis (this machine has no redis-server to break)');
    if (!canStartZooKeeper())
      say('not tested: faults of ZooKeeper (this machine has no ZooKeeper to break)');
    if (!canStartMariadb())
      say('not tested: faults of MariaDB (this machine has no mariadbd to break)');
    if (!pgbouncer) say('not tested: PgBouncer (this machine has none, and it was not installed)');
  };
}
