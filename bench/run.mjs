/** Builds, installs this folder's dependencies, starts throwaway servers and runs the scenarios that are named; all by default. */
import '../.ci/typescript.mjs';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
const SCENARIOS = ['transaction', 'hand-off'];
const { values, positionals } = parseArgs({
  options: { json: { type: 'string' } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !SCENARIOS.includes(name));
if (unknown.length > 0) {
  console.error(`There is no scenario ${unknown.join(', ')}; allowed: ${SCENARIOS.join(', ')}.`);
  process.exit(2);
}

if (!existsSync(`${here}node_modules/nestjs-distributed-lock`)) {
  const { status } = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], {
    cwd: here,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(1);
}
const { ensureBuilt } = await import('../test/support/build.ts');
const { getServices } = await import('../test/support/services.ts');
const { createDatabase } = await import('../test/support/postgres.ts');
const { startRedis } = await import('../test/support/redis.ts');
await ensureBuilt();

const results = {};
for (const name of positionals.length > 0 ? positionals : SCENARIOS) {
  const { needs, run } = await import(`./${name}.mjs`);
  const services = await getServices(
    needs.filter((it) => it !== 'redlock'),
    console.log,
  );
  const nodes = needs.includes('redlock')
    ? await Promise.all([startRedis(), startRedis(), startRedis()])
    : [];
  for (const { name: missing, reason } of services.missing)
    console.log(`not measured: ${missing} (${reason})`);
  const database = await createDatabase(services.available.get('postgres').url, 'bench');
  const urls = Object.fromEntries([...services.available.values()].map((it) => [it.name, it.url]));
  console.log(`\n${name}:\n`);
  try {
    const all = { ...urls, postgres: database.url, redlock: nodes.map(({ url }) => url).join(',') };
    results[name] = await run(all, console.log);
  } finally {
    await database.drop();
    await Promise.all([services.stop(), ...nodes.map((node) => node.stop())]);
  }
}
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  node: process.version,
  library: version,
};
console.log(`\n${machine.cores} × ${machine.cpu}, Node ${machine.node}`);
if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
process.exit(0);
