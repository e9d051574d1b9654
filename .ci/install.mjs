/**
 * Installs the dependencies of a fresh clone; does nothing when they are there.
 *
 * Node built-ins only: it runs before anything is installed.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const wanted = `${root}package-lock.json`;
/** Written by npm at the end of every install: what is really in node_modules. */
const installed = `${root}node_modules/.package-lock.json`;

const modifiedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const packagesOf = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;

/** @returns why `npm ci` has to run, or `null` if nothing is missing. */
function whyInstall() {
  if (modifiedAt(installed) === 0) return 'node_modules is missing or incomplete';
  if (modifiedAt(installed) >= modifiedAt(wanted)) return null;
  // The lock file is newer, which a `git checkout` is enough for: only a difference in content counts.
  const present = packagesOf(installed);
  for (const [path, entry] of Object.entries(packagesOf(wanted))) {
    if (path === '' || (entry.optional && !present[path])) continue;
    if (present[path]?.version !== entry.version || present[path]?.integrity !== entry.integrity) {
      return `package-lock.json has another ${path.replace(/^.*node_modules\//, '')}`;
    }
  }
  return null;
}

function refuseOldNode() {
  const { engines } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
  const number = (version) =>
    version.split('.').reduce((sum, part) => sum * 1000 + Number.parseInt(part, 10), 0);
  const needed = engines.node.replace('>=', '');
  if (number(process.versions.node) >= number(needed)) return;
  console.error(`This project needs Node ${needed} or newer; this is ${process.versions.node}.`);
  process.exit(1);
}

refuseOldNode();
const reason = whyInstall();
if (reason !== null) {
  console.log(`Installing dependencies with "npm ci" (${reason}) …`);
  const args = ['ci', '--no-audit', '--no-fund'];
  const npmCli = process.env.npm_execpath;
  const [command, ...before] = npmCli?.endsWith('npm-cli.js')
    ? [process.execPath, npmCli]
    : ['npm'];
  const { status, error } = spawnSync(command, [...before, ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (error || status !== 0) {
    console.error(`"npm ci" failed${error ? `: ${error.message}` : ''}; nothing was started.`);
    process.exit(status || 1);
  }
}
