// Proves that the specs have teeth: breaks the library in one place at a time and demands that the named spec fails.
//
//   node test/mutants/run.mjs [text]     all mutants, or those whose description or file contains the text
//
// Works on a copy in the system's temporary directory. Exit code 1 if a mutant survives, or a spec fails without one.
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTANTS } from './mutants.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const COPIED = ['src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts'];
const AT_ONCE = 2;
const TIMEOUT_MS = 60_000;

/** A copy of the sources and tests that shares the installed packages. */
async function copyOfProject() {
  const directory = await mkdtemp(join(tmpdir(), 'distributed-lock-mutants-'));
  for (const name of COPIED) await cp(join(ROOT, name), join(directory, name), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'), 'dir');
  return directory;
}

/** @returns whether the spec passes, and what it printed. A spec that hangs does not pass. */
function run(directory, spec) {
  const projects = spec.endsWith('.e2e-spec.ts') ? ['services'] : ['unit', 'isolated'];
  const vitest = join(directory, 'node_modules/vitest/vitest.mjs');
  const named = projects.flatMap((project) => ['--project', project]);
  const args = [vitest, 'run', ...named, '--bail', '1', spec];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, CI: '1', NO_COLOR: '1' },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => (output += chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ passes: code === 0, output });
    });
  });
}

/** @returns what is wrong with the mutant, or `null` if it was killed by a failing test. */
async function kill(directory, { file, find, replace, spec }) {
  const path = join(directory, 'src/distributed-lock', file);
  const original = await readFile(path, 'utf8');
  const occurrences = original.split(find).length - 1;
  if (occurrences !== 1) return `the text to replace occurs ${occurrences} times`;
  await writeFile(
    path,
    original.replace(find, () => replace),
  );
  try {
    const { passes, output } = await run(directory, spec);
    if (passes) return 'SURVIVED';
    // A spec that does not even load proves nothing.
    return /Tests +.*failed|Test timed out|Errors +\d+ error/.test(output)
      ? null
      : `no test failed:\n${output}`;
  } finally {
    await writeFile(path, original);
  }
}

/** Takes from the list until it is empty, in a directory of its own. */
async function worker(queue, work) {
  const directory = await copyOfProject();
  try {
    for (let it = queue.shift(); it; it = queue.shift()) await work(directory, it);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const inParallel = (list, work) => {
  const queue = [...list];
  return Promise.all(Array.from({ length: AT_ONCE }, () => worker(queue, work)));
};

const say = (line) => process.stdout.write(`${line}\n`);
const wanted = process.argv[2] ?? '';
const mutants = MUTANTS.filter(({ what, file }) => `${file} ${what}`.includes(wanted));
const startedAt = performance.now();
let failures = 0;

const report = (mark, file, what, problem) => {
  if (problem !== null) failures += 1;
  say(`${mark}  ${file.padEnd(34)} ${what}${problem === null ? '' : `: ${problem}`}`);
};

await inParallel([...new Set(mutants.map(({ spec }) => spec))], async (directory, spec) => {
  const { passes, output } = await run(directory, spec);
  if (!passes) report('✗', spec, 'fails without a mutant', output);
});
if (failures === 0) {
  await inParallel(mutants, async (directory, mutant) => {
    const problem = await kill(directory, mutant);
    report(problem === null ? '✓' : '✗', mutant.file, mutant.what, problem);
  });
}
const seconds = Math.round((performance.now() - startedAt) / 1_000);
say(`${mutants.length} mutants, ${failures} problems, ${seconds} s`);
process.exitCode = failures === 0 && mutants.length > 0 ? 0 : 1;
