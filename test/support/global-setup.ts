import type { TestProject } from 'vitest/node';
import { canStartRedis, canStartZooKeeper, getServices } from './services.js';

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
  }
}

const say = (line: string) => process.stderr.write(`${line}\n`);

/** One server of each kind for the run, taken away at its end. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const services = await getServices(['redis', 'postgres', 'mariadb', 'zookeeper'], say);
  project.provide('redisUrl', services.available.get('redis')?.url ?? null);
  project.provide('databaseUrl', services.available.get('postgres')?.url ?? null);
  project.provide('mysqlUrl', services.available.get('mariadb')?.url ?? null);
  project.provide('zookeeperUrl', services.available.get('zookeeper')?.url ?? null);
  project.provide('canStartRedis', canStartRedis());
  project.provide('canStartZooKeeper', canStartZooKeeper());

  return async () => {
    await services.stop();
    for (const { name, reason } of services.missing) say(`not tested: ${name} (${reason})`);
    if (!canStartRedis())
      say('not tested: faults of Redis (this machine has no redis-server to break)');
    if (!canStartZooKeeper())
      say('not tested: faults of ZooKeeper (this machine has no ZooKeeper to break)');
  };
}
