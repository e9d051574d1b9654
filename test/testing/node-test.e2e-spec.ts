import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { memoryStore } from 'nestjs-distributed-lock';
import { contractOf } from 'nestjs-distributed-lock/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { ensureBuilt } from '../support/build.js';

const FILE = fileURLToPath(new URL('./contract.node-test.mjs', import.meta.url));

function run(store: 'healthy' | 'broken'): Promise<{ code: number; printed: string }> {
  return new Promise((resolve) => {
    const node = execFile(
      process.execPath,
      ['--test-reporter=tap', FILE, store],
      { timeout: 60_000 },
      (_error, printed) => resolve({ code: node.exitCode ?? -1, printed }),
    );
  });
}

describe('the built contract under node:test', () => {
  beforeAll(ensureBuilt);

  it.concurrent('passes a healthy store', async () => {
    const { code, printed } = await run('healthy');
    expect(printed).toContain(`# pass ${contractOf(memoryStore().traits).length}\n`);
    expect(code).toBe(0);
  });

  it.concurrent('fails a store that says "released" to everybody', async () => {
    const { code, printed } = await run('broken');
    expect(printed).toMatch(/not ok \d+ - 5 a second release answers not-held/);
    expect(printed).toMatch(/ok \d+ - 2 a try on a held key/);
    expect(code).toBe(1);
  });
});
