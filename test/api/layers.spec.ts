import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LIBRARY = 'src/distributed-lock';

/** One row per folder: what it may import, and what the linter refuses. */
const ROWS: readonly { file: string; may: readonly string[]; never: readonly string[] }[] = [
  {
    file: `${LIBRARY}/key/x.ts`,
    may: ['../distributed-lock.errors.js', './lock-key.js'],
    never: [
      '../lock/hold.js',
      '../store/lock-store.js',
      '../distributed-lock.events.js',
      '@nestjs/common',
      'typeorm',
      'node:fs',
    ],
  },
  {
    file: `${LIBRARY}/store/lock-store.ts`,
    may: ['../key/lock-key.js', '../distributed-lock.errors.js'],
    never: ['./queueing.lock-store.js', './redis/index.js', '../lock/hold.js', 'ioredis'],
  },
  {
    file: `${LIBRARY}/store/x.ts`,
    may: ['./lock-store.js', '../key/lock-key.js', '../distributed-lock.errors.js'],
    never: [
      './redis/index.js',
      '../lock/hold.js',
      '../transaction/transaction-runner.js',
      '@nestjs/core',
    ],
  },
  {
    file: `${LIBRARY}/store/redis/x.ts`,
    may: [
      '../lock-store.js',
      '../queueing.lock-store.js',
      '../redis-client/redis.keys.js',
      '../../key/lock-key.js',
      'ioredis',
    ],
    never: [
      '../memory/memory.lock-store.js',
      '../redlock/index.js',
      '../../lock/hold.js',
      '../../transaction/transaction-runner.js',
      '../../decorator/distributed-lock.decorator.js',
      '@nestjs/common',
    ],
  },
  {
    file: `${LIBRARY}/store/redlock/x.ts`,
    may: ['../turn-backend.js', '../redis-client/redis.connection.js', 'ioredis'],
    never: ['../redis/redis.scripts.js', '../../lock/hold.js', '@nestjs/common'],
  },
  {
    file: `${LIBRARY}/store/redis-client/x.ts`,
    may: ['../../key/lock-key.js', '../../distributed-lock.errors.js', 'ioredis'],
    never: [
      '../redis/index.js',
      '../redlock/index.js',
      '../turn-backend.js',
      '../queueing.lock-store.js',
      '../../lock/hold.js',
      '@nestjs/common',
    ],
  },
  {
    file: `${LIBRARY}/store/postgres/x.ts`,
    may: ['../turn-backend.js', '../session.backend.js'],
    never: ['../redis-client/redis.connection.js', '../redis/index.js', 'ioredis'],
  },
  {
    file: `${LIBRARY}/lock/x.ts`,
    may: [
      '../key/lock-key.js',
      '../store/lock-store.js',
      '../distributed-lock.events.js',
      './hold.js',
    ],
    never: [
      '../store/redis/index.js',
      '../store/memory/index.js',
      '../store/queueing.lock-store.js',
      '../transaction/transaction-runner.js',
      '@nestjs/common',
    ],
  },
  {
    file: `${LIBRARY}/transaction/typeorm/x.ts`,
    may: ['typeorm', '../transaction-runner.js', '../../distributed-lock.errors.js'],
    never: ['../../lock/hold.js', '../../store/lock-store.js', '@nestjs/typeorm', '@nestjs/common'],
  },
  {
    file: `${LIBRARY}/distributed-lock.executor.ts`,
    may: ['./key/lock-key.js', './lock/lock-manager.js', './transaction/transaction-runner.js'],
    never: [
      './store/redis/index.js',
      './transaction/typeorm/index.js',
      'typeorm',
      '@nestjs/common',
    ],
  },
  {
    file: `${LIBRARY}/decorator/x.ts`,
    may: ['../distributed-lock.executor.js', '../key/key-expression.js', '@nestjs/common'],
    never: [
      '../lock/hold.js',
      '../store/lock-store.js',
      '../transaction/transaction-runner.js',
      '@nestjs/core',
      'typeorm',
    ],
  },
  {
    file: `${LIBRARY}/testing/x.ts`,
    may: [
      '../store/memory/memory.lock-store.js',
      '../distributed-lock.runtime.js',
      '@nestjs/common',
    ],
    never: ['vitest', '@nestjs/testing', 'typeorm', 'ioredis', '../store/redis/index.js'],
  },
  {
    file: `${LIBRARY}/testing/contract/x.ts`,
    may: [
      './clause.js',
      '../../store/lock-store.js',
      '../../key/lock-key.js',
      '../../distributed-lock.errors.js',
      '../../distributed-lock.clock.js',
      'node:assert/strict',
    ],
    never: [
      'vitest',
      'node:test',
      '@jest/globals',
      '@nestjs/common',
      '../../store/memory/memory.lock-store.js',
      '../../store/queueing.lock-store.js',
      '../simulated-locks.js',
    ],
  },
  {
    file: 'src/example/quote/x.ts',
    may: ['nestjs-distributed-lock', 'nestjs-distributed-lock/redis', './quote.entity.js'],
    never: ['../../distributed-lock/index.js', '../../distributed-lock/lock/hold.js'],
  },
  {
    file: 'test/e2e/x.ts',
    may: ['nestjs-distributed-lock', '../support/services.js', '../../src/example/app.module.js'],
    never: ['../../src/distributed-lock/index.js', '../../dist/distributed-lock/index.js'],
  },
  {
    file: 'bench/x.ts',
    may: ['nestjs-distributed-lock/redis'],
    never: ['../src/distributed-lock/store/redis/index.js'],
  },
];

const OF_THE_LAYERS = 'eslint(no-restricted-imports)';

/** The project's rules over a tree of their own: nothing is written into the sources. */
async function refusedImports(): Promise<Set<string>> {
  const tree = mkdtempSync(join(tmpdir(), 'layers-'));
  try {
    cpSync(join(ROOT, '.oxlintrc.json'), join(tree, '.oxlintrc.json'));
    for (const { file, may, never } of ROWS) {
      mkdirSync(dirname(join(tree, file)), { recursive: true });
      const imports = [...may, ...never].map((from, line) => `import { a${line} } from '${from}';`);
      writeFileSync(join(tree, file), imports.join('\n'));
    }
    const oxlint = join(ROOT, 'node_modules', 'oxlint', 'bin', 'oxlint');
    const report = await new Promise<string>((resolve) => {
      execFile(process.execPath, [oxlint, '-f', 'json'], { cwd: tree }, (_error, out) =>
        resolve(out),
      );
    });
    const { diagnostics } = JSON.parse(report) as {
      diagnostics: { code: string; filename: string; labels: { span: { line: number } }[] }[];
    };
    const refused = diagnostics.filter((it) => it.code === OF_THE_LAYERS);
    return new Set(refused.map((it) => `${it.filename}:${it.labels[0]?.span.line}`));
  } finally {
    rmSync(tree, { recursive: true });
  }
}

describe('who may import whom', () => {
  let refused: Set<string>;
  beforeAll(async () => {
    refused = await refusedImports();
  });
  afterAll(() => expect(refused.size).toBe(ROWS.flatMap((it) => it.never).length));

  for (const { file, may, never } of ROWS) {
    it.each(may.map((from, index) => ({ from, line: index + 1 })))(
      `${file} may import $from`,
      ({ line }) => expect(refused).not.toContain(`${file}:${line}`),
    );
    it.each(never.map((from, index) => ({ from, line: may.length + index + 1 })))(
      `${file} never imports $from`,
      ({ line }) => expect(refused).toContain(`${file}:${line}`),
    );
  }
});
