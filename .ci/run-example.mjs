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
const { startRedis } = await import('../test/support/redis.ts');
const { createDatabase } = await import('../test/support/postgres.ts');
const say = (line) => console.log(line);

/** What each store needs besides PostgreSQL, in which the example keeps its data. */
const NEEDS = {
  redis: 'redis',
  redlock: null,
  zookeeper: 'zookeeper',
  mysql: 'mariadb',
  postgres: null,
  table: null,
  memory: null,
};

const [script, ...args] = process.argv.slice(2);
/** What is wrong with the arguments is said before anything is built or started. */
async function asked() {
  try {
    if (script.endsWith('demo.js')) {
      const { parseDemoArguments } = await import('../src/example/demo/demo.arguments.ts');
      return parseDemoArguments(args).store ?? process.env.STORE;
    }
    const at = args.indexOf('--store');
    return at < 0 ? process.env.STORE : (args[at + 1] ?? '');
  } catch (error) {
    say(error.message);
    process.exit(2);
  }
}
const given = await asked();
const store = given ?? 'redis';
if (!Object.hasOwn(NEEDS, store)) {
  say(`The store is "${store}"; allowed: ${Object.keys(NEEDS).join(', ')}.`);
  process.exit(2);
}
say('Building …');
await ensureBuilt();
const wanted = ['postgres', NEEDS[store]].filter((name) => name !== null);
say(`Starting ${wanted.join(' and ')} …`);
const services = await getServices(wanted, say);
for (const { name, reason } of services.missing) say(`Not available: ${name} (${reason})`);
const urlOf = (name) => services.available.get(name)?.url ?? '';
const postgres = services.available.get('postgres');
/** Without Redis the default falls back to memory; a store that was asked for is there or not. */
const isMissing = NEEDS[store] !== null && urlOf(NEEDS[store]) === '';

/** Redlock wants servers that know nothing of each other. */
const nodes = [];
if (store === 'redlock' && !process.env.REDLOCK_URLS) {
  nodes.push(...(await Promise.all([startRedis(), startRedis(), startRedis()])));
}

let exitCode = 1;
if (postgres === undefined) {
  say('The example needs PostgreSQL. Set DATABASE_URL, or make one of the ways above work.');
} else if (isMissing && given !== undefined) {
  say(`The ${store} store cannot be had here.`);
} else {
  if (isMissing) say('Without Redis, locks live in memory and the example runs in one process.');
  for (const { name, origin } of services.available.values()) say(`  ${name}: ${origin}`);
  const database = await createDatabase(postgres.url, 'example');
  const child = spawn(process.execPath, ['--enable-source-maps', script, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      DATABASE_URL: database.url,
      STORE: isMissing ? 'memory' : store,
      REDIS_URL: urlOf('redis'),
      MYSQL_URL: urlOf('mariadb'),
      ZOOKEEPER_URL: urlOf('zookeeper'),
      REDLOCK_URLS: process.env.REDLOCK_URLS ?? nodes.map(({ url }) => url).join(','),
    },
  });
  // Ctrl-C goes to the whole group: the example ends by itself, then its servers are taken away here.
  for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => child.kill(name));
  exitCode = await new Promise((resolve) => {
    child.on('exit', (code) => resolve(code ?? 1));
  });
  await database.drop();
}
await Promise.all([services.stop(), ...nodes.map((node) => node.stop())]);
process.exit(exitCode);
