import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { STORE_NAMES, type StoreName } from '../../src/example/app.config.js';
import { ensureBuilt } from '../support/build.js';
import { storeOf } from '../../src/example/app.store.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** @returns the exit code and what was said. */
async function demo(...args: string[]): Promise<{ code: unknown; said: string }> {
  const command = ['.ci/run-example.mjs', 'dist/example/demo/demo.js', ...args];
  // As if nothing could be started: whoever goes on to build or start says so.
  const env = { ...process.env, DATABASE_URL: 'postgres://127.0.0.1:1/none' };
  return promisify(execFile)(process.execPath, command, { cwd: root, env, timeout: 20_000 }).then(
    ({ stdout }) => ({ code: 0, said: stdout }),
    (error: { code: unknown; stdout: string }) => ({ code: error.code, said: error.stdout }),
  );
}

it.each([
  [['--store', 'etcd'], /The store is "etcd"; allowed: redis, redlock, zookeeper, postgres/],
  [['--store', 'toString'], /The store is "toString"; allowed/],
  [['--store=etcd'], /The store is "etcd"; allowed/],
  [['--rounds', '0'], /--rounds is "0"; allowed: a whole number from 1 to 100000/],
  [['--rounds', 'many'], /--rounds is "many"; allowed/],
  [['--workers', '1'], /--workers is "1"; allowed: a whole number from 2 to 16/],
  [['--round', '5'], /Unknown option '--round'/],
])('the demo refuses %j before anything is built or started', async (args, message) => {
  const { code, said } = await demo(...args);
  expect(said).toMatch(message);
  expect(code).toBe(2);
  expect(said).not.toMatch(/Building|Starting/);
});

it('control: good arguments go on to the build', async () => {
  await ensureBuilt(); // a build that is cut short would be in the way of others
  const { said } = await demo('--store', 'memory', '--rounds', '1');
  expect(said).toMatch(/Building/);
});

const ADDRESSES: Readonly<Record<StoreName, string | null>> = {
  redis: 'redis://127.0.0.1:1',
  redlock: 'redis://127.0.0.1:1,redis://127.0.0.1:2,redis://127.0.0.1:3',
  zookeeper: '127.0.0.1:1',
  postgres: 'postgres://127.0.0.1:1/db',
  mysql: 'mysql://127.0.0.1:1/db',
  table: 'postgres://127.0.0.1:1/db',
  memory: null,
};

it.each(STORE_NAMES)('--store %s makes that store', (store) => {
  const config = { store, storeUrl: ADDRESSES[store], databaseUrl: ADDRESSES.postgres!, port: 0 };
  expect(storeOf(config).traits.name).toBe(store);
});
