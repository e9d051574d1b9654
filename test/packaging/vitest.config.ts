import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** The package as npm installs it, apart from `npm test` because it downloads packages. */
export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  test: {
    name: 'packaging',
    include: ['test/packaging/**/*.install-spec.ts'],
    testTimeout: 120_000,
    hookTimeout: 300_000,
  },
});
