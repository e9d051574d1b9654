import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { RunAs } from './throwaway.js';

/** @returns the full path of the first of these programs that this machine has. */
export function findBinary(
  names: readonly string[],
  folders: readonly string[] = [],
): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter);
  for (const folder of [
    ...folders,
    ...path,
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
    '/opt/homebrew/bin',
  ]) {
    const found = names.map((name) => join(folder, name)).find(isExecutable);
    if (found) return found;
  }
  return undefined;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Debian keeps PostgreSQL's programs out of the PATH; newest first. */
export function debianPostgresFolders(): readonly string[] {
  try {
    const versions = readdirSync('/usr/lib/postgresql');
    return versions
      .sort((a, b) => Number(b) - Number(a))
      .map((it) => `/usr/lib/postgresql/${it}/bin`);
  } catch {
    return []; // not Debian, or not installed
  }
}

/**
 * Who a database server runs as. PostgreSQL and MariaDB refuse to run as root, and look their user up by name, so root
 * borrows one that exists: the first of `preferred`, else `nobody`.
 *
 * @returns `undefined` for everybody but root: the current user.
 */
export function unprivilegedUser(preferred: readonly string[]): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of [...preferred, 'nobody']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, name], { stdio: 'pipe' }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      continue; // no such user
    }
  }
  throw new Error(
    'Root cannot start a database server, and there is no user "nobody" to do it as.',
  );
}
