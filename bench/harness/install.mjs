/** Installs this folder's dependencies, which are the contenders, and links the library into them. */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BENCH = fileURLToPath(new URL('..', import.meta.url));
/** npm writes it at the end of every install. */
const INSTALLED = `${BENCH}node_modules/.package-lock.json`;
const LIBRARY = `${BENCH}node_modules/nestjs-distributed-lock`;

/** Does nothing when everything is there. */
export function installContenders() {
  const modifiedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (modifiedAt(INSTALLED) < modifiedAt(`${BENCH}package-lock.json`)) {
    const args = ['ci', '--no-audit', '--no-fund', '--ignore-scripts'];
    const { status, error } = spawnSync('npm', args, { cwd: BENCH, stdio: 'inherit' });
    if (error || status !== 0) throw error ?? new Error(`npm ci in bench/ ended with ${status}.`);
  }
  // A link of our own: a `file:` dependency would copy the library's manifest into the lock file.
  if (!existsSync(LIBRARY)) symlinkSync('../..', LIBRARY, 'dir');
}
