import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import swc from 'unplugin-swc';
import { defineConfig } from 'vitest/config';

const src = (path: string) =>
  fileURLToPath(new URL(`./src/distributed-lock/${path}`, import.meta.url));

/** The public doors resolve to the sources, so that tests import what a user imports. */
const alias = [
  { find: /^nestjs-distributed-lock$/, replacement: src('index.ts') },
  { find: /^nestjs-distributed-lock\/store$/, replacement: src('store/index.ts') },
  { find: /^nestjs-distributed-lock\/redis$/, replacement: src('store/redis/index.ts') },
  { find: /^nestjs-distributed-lock\/redlock$/, replacement: src('store/redlock/index.ts') },
  { find: /^nestjs-distributed-lock\/zookeeper$/, replacement: src('store/zookeeper/index.ts') },
  { find: /^nestjs-distributed-lock\/postgres$/, replacement: src('store/postgres/index.ts') },
  { find: /^nestjs-distributed-lock\/mysql$/, replacement: src('store/mysql/index.ts') },
  { find: /^nestjs-distributed-lock\/table$/, replacement: src('store/table/index.ts') },
  { find: /^nestjs-distributed-lock\/typeorm$/, replacement: src('transaction/typeorm/index.ts') },
  { find: /^nestjs-distributed-lock\/testing$/, replacement: src('testing/index.ts') },
];

const plugins = [
  // Nest needs decorator metadata, which esbuild does not emit.
  swc.vite({
    module: { type: 'es6' },
    jsc: {
      target: 'es2022',
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true },
    },
  }),
];

/** What depends on TypeORM's own code: managers, query runners, events, drivers. */
const WITH_TYPEORM_03 = [
  'test/fence/order.e2e-spec.ts',
  'test/transaction/adoption.e2e-spec.ts',
  'test/transaction/detection.e2e-spec.ts',
  'test/transaction/locked-transaction.e2e-spec.ts',
  'test/transaction/sqlite.spec.ts',
  'test/transaction/typeorm-0.3.version-spec.ts',
];

/**
 * Specs that replace a module (the clock) or the timers: what runs beside them must be theirs. All other specs of a worker share their modules: importing Nest
 * and TypeORM anew for each took as long as half of the tests.
 */
const IN_A_WORLD_OF_THEIR_OWN = ['src', 'test'].flatMap((folder) =>
  readdirSync(new URL(`./${folder}/`, import.meta.url), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.spec.ts'))
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .filter((path) => {
      const text = readFileSync(new URL(`./${path}`, import.meta.url), 'utf8');
      return /vi\.(mock|useFakeTimers)\(/.test(text);
    }),
);

export default defineConfig({
  test: {
    // Half of the time is spent waiting for leases and servers, so there are more workers than cores.
    maxWorkers: 4,
    reporters: ['default', './test/support/contract-table.ts'],
    projects: [
      {
        plugins,
        resolve: { alias },
        test: {
          name: 'unit',
          include: ['src/**/*.spec.ts', 'test/**/*.spec.ts'],
          exclude: IN_A_WORLD_OF_THEIR_OWN,
          isolate: false,
          testTimeout: 20_000,
        },
      },
      {
        plugins,
        resolve: { alias },
        test: {
          name: 'isolated',
          include: IN_A_WORLD_OF_THEIR_OWN,
          // Thousands of runs in virtual time: nothing but work for the processor, which may have other work.
          testTimeout: 60_000,
        },
      },
      {
        plugins,
        resolve: { alias },
        test: {
          name: 'services',
          include: ['test/**/*.e2e-spec.ts'],
          isolate: false,
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        plugins,
        resolve: { alias },
        test: {
          // Proof that the fault contract can fail, by stores that are broken; very many keys; and three ZooKeeper servers, which need the machine for
          // themselves.
          name: 'long',
          include: ['test/**/*.long-spec.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        plugins,
        // The other major version that is supported, for everything that asks for the package.
        resolve: { alias: [...alias, { find: /^typeorm$/, replacement: 'typeorm03' }] },
        test: {
          name: 'typeorm-0.3',
          include: WITH_TYPEORM_03,
          globalSetup: ['test/support/global-setup.ts'],
          server: { deps: { inline: ['@nestjs/typeorm'] } },
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
