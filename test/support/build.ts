import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from './until.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Holds the time at which the sources of a finished build were read. */
const STAMP = join(ROOT, 'dist', '.built-at');
/** A directory: making one is atomic, so it keeps two runs from building into each other. */
const LOCK = join(ROOT, 'node_modules', '.building');
const STALE_LOCK_MS = 180_000;

/**
 * Makes `dist` what the sources say, for processes that run without a test runner. Does nothing if it is up to date.
 *
 * @throws {Error} with the compiler's output.
 */
export async function ensureBuilt(): Promise<void> {
  if (isFresh()) return;
  await until('the build of another run', takeLock, {
    deadlineMs: STALE_LOCK_MS + 30_000,
    everyMs: 100,
  });
  try {
    if (isFresh()) return; // the other run has built it
    const readAt = Date.now();
    await promisify(execFile)(
      process.execPath,
      [join(ROOT, 'node_modules/@nestjs/cli/bin/nest.js'), 'build'],
      {
        cwd: ROOT,
      },
    );
    writeFileSync(STAMP, String(readAt));
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`"nest build" failed:\n${stdout}${stderr}`, { cause: error });
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

function isFresh(): boolean {
  let builtAt: number;
  try {
    builtAt = Number(readFileSync(STAMP, 'utf8'));
  } catch {
    return false; // never built, or built by hand
  }
  const configuration = ['tsconfig.json', 'tsconfig.build.json', 'nest-cli.json'];
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile() && !it.name.endsWith('.spec.ts'))
    .map((it) => join(it.parentPath, it.name));
  return [...configuration.map((it) => join(ROOT, it)), ...sources].every(
    (file) => statSync(file).mtimeMs < builtAt,
  );
}

function takeLock(): boolean {
  try {
    mkdirSync(LOCK);
    return true;
  } catch {
    const age = Date.now() - (statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > STALE_LOCK_MS) rmSync(LOCK, { recursive: true, force: true }); // its builder was killed
    return false;
  }
}
