import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Only where it is allowed and expected: as root, on Debian or Ubuntu. */
export function canAptInstall(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    return /^ID(_LIKE)?=.*(debian|ubuntu)/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false; // no such file: another system
  }
}

/**
 * Installs a package of the system, out loud. Its service is not started where the system honours `RUNLEVEL`.
 *
 * @throws {Error} if apt-get fails.
 */
export function aptInstall(name: string, say: (line: string) => void): void {
  const install = ['install', '-y', '--no-install-recommends', name];
  say(`Installing the system package "${name}": apt-get ${install.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const attempt = () => spawnSync('apt-get', install, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let result = attempt();
  if (result.status !== 0) {
    spawnSync('apt-get', ['update'], { env, stdio: 'ignore' });
    result = attempt();
  }
  if (result.status !== 0)
    throw new Error(`apt-get could not install "${name}": ${String(result.stderr)}`);
}
