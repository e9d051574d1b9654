/** Installs this folder's dependencies, which are the contenders, and links the library into them. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BENCH = fileURLToPath(new URL('..', import.meta.url));
const WANTED = `${BENCH}package-lock.json`;
/** Copied there after the last install that went well. */
const INSTALLED = `${BENCH}node_modules/.installed.json`;
const LIBRARY = `${BENCH}node_modules/nestjs-distributed-lock`;

/** Does nothing when everything is there. */
export function installContenders() {
  if (!existsSync(INSTALLED) || readFileSync(INSTALLED, 'utf8') !== readFileSync(WANTED, 'utf8')) {
    const args = ['ci', '--no-audit', '--no-fund', '--ignore-scripts'];
    const { status, error } = spawnSync('npm', args, { cwd: BENCH, stdio: 'inherit' });
    if (error || status !== 0) throw error ?? new Error(`npm ci in bench/ ended with ${status}.`);
    copyFileSync(WANTED, INSTALLED);
  }
  // A link of our own: a `file:` dependency would copy the library's manifest into the lock file.
  if (!existsSync(LIBRARY)) symlinkSync('../..', LIBRARY, 'dir');
}
