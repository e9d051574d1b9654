import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runContract, storeWorld } from 'nestjs-distributed-lock/testing';
import { describe, it } from 'vitest';
import { fileStore } from './file-store.js';

runContract({
  name: 'file',
  traits: fileStore({ directory: 'unused' }).traits,
  open: async () => {
    const directory = await mkdtemp(join(tmpdir(), 'file-store-'));
    return storeWorld(() => fileStore({ directory }), {
      close: () => rm(directory, { recursive: true }),
    });
  },
  describe,
  it,
});
