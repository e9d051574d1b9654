/**
 * Builds the project, gets the services and runs a script of the example with their URLs.
 *
 * `node .ci/run-example.mjs dist/example/demo/demo.js [arguments …]`
 */
import './typescript.mjs';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { ensureBuilt } = await import('../test/support/build.ts');
const { getServices } = await import('../test/support/services.ts');
const { createDatabase } = await import('../test/support/postgres.ts');
const say = (line) => console.log(line);

const [script, ...args] = process.argv.slice(2);
say('Building …');
await ensureBuilt();
say('Starting Redis and PostgreSQL …');
const services = await getServices(['redis', 'postgres'], say);
for (const { name, reason } of services.missing) say(`Not available: ${name} (${reason})`);
const postgres = services.available.get('postgres');
const redis = services.available.get('redis');

let exitCode = 1;
if (postgres === undefined) {
  say('The example needs PostgreSQL. Set DATABASE_URL, or make one of the ways above work.');
} else {
  if (redis === undefined)
    say('Without Redis, locks live in memory and the example runs in one process.');
  for (const { name, origin } of services.available.values()) say(`  ${name}: ${origin}`);
  const database = await createDatabase(postgres.url, 'example');
  const child = spawn(process.execPath, ['--enable-source-maps', script, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, DATABASE_URL: database.url, REDIS_URL: redis?.url ?? '' },
  });
  // Ctrl-C goes to the whole group: the example ends by itself, then its servers are taken away here.
  for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => child.kill(name));
  exitCode = await new Promise((resolve) => {
    child.on('exit', (code) => resolve(code ?? 1));
  });
  await database.drop();
}
await services.stop();
process.exit(exitCode);
