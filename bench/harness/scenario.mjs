/** A workload that needs other servers than the one Redis: `transaction.mjs`, `hand-off.mjs`. */
import { createDatabase } from '../../test/support/postgres.ts';
import { startRedis } from '../../test/support/redis.ts';
import { getServices } from '../../test/support/services.ts';

/** @param name of a file in `bench/` that exports `needs` and `run(urls, say)`. */
export async function runScenario(name, say) {
  const { needs, run } = await import(`../${name}.mjs`);
  const services = await getServices(
    needs.filter((it) => it !== 'redlock'),
    say,
  );
  const nodes = needs.includes('redlock')
    ? await Promise.all([startRedis(), startRedis(), startRedis()])
    : [];
  for (const { name: missing, reason } of services.missing) {
    say(`  not measured: ${missing} (${reason})`);
  }
  const postgres = services.available.get('postgres');
  const database = postgres && (await createDatabase(postgres.url, 'bench'));
  const urls = Object.fromEntries([...services.available.values()].map((it) => [it.name, it.url]));
  try {
    return await run(
      { ...urls, postgres: database?.url, redlock: nodes.map(({ url }) => url).join(',') },
      say,
    );
  } finally {
    await database?.drop();
    await Promise.all([services.stop(), ...nodes.map((node) => node.stop())]);
  }
}
