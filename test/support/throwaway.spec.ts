import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from './until.js';

/** As a database does that is told to end: it writes for a while, and makes what is missing. Notes whether it was left alone, by what it wrote last. */
const SERVER = `
  const { existsSync, mkdirSync, writeFileSync } = require('node:fs');
  const [data, note, writes] = process.argv.slice(1);
  writeFileSync(data + '/up', '');
  const writeOn = (n) => {
    const alone = existsSync(data + (n === 0 ? '/up' : '/pages/' + (n - 1)));
    mkdirSync(data + '/pages', { recursive: true });
    writeFileSync(data + '/pages/' + n, '');
    if (alone && n < writes) return setTimeout(writeOn, 10, n + 1);
    writeFileSync(note, alone ? 'left alone' : 'removed under it');
    process.exit();
  };
  process.on('SIGTERM', () => writeOn(0));
  setInterval(() => {}, 1000);`;

const moduleUrl = (path: string): string => new URL(path, import.meta.url).href;

let directory: string;
let run: ChildProcess;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'distributed-lock-throwaway-'));
});
afterEach(() => {
  run.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

/** A run that starts the server, says where its data is, and is killed. */
async function killedRun(uses: boolean): Promise<{ data: string; note: string }> {
  const note = join(directory, 'note');
  // The control waits for what must not happen, however busy the machine is; else the server ends by itself.
  const writes = uses ? 150 : 900;
  const starter = `
    import '${moduleUrl('../../.ci/typescript.mjs')}';
    import { existsSync } from 'node:fs';
    const { keptDirectory, startThrowaway, temporaryDirectory } = await import('${moduleUrl('throwaway.ts')}');
    const kept = keptDirectory('data');
    await startThrowaway({
      name: 'a server',
      command: process.execPath,
      args: ['-e', ${JSON.stringify(SERVER)}, kept.directory, '${note}', '${writes}'],
      directory: temporaryDirectory('server'),
      uses: ${uses} ? kept : undefined,
      isReady: async () => existsSync(kept.directory + '/up'),
    });
    console.log(kept.directory);
    setInterval(() => {}, 1000);`;
  run = spawn(process.execPath, ['--input-type=module', '-e', starter], {
    env: { ...process.env, TMPDIR: directory },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let data = '';
  run.stdout?.on('data', (text: Buffer) => (data += text.toString().trim()));
  await until('the server to run', () => data !== '');
  run.kill('SIGKILL');
  let said = '';
  await until('the server to end', () => {
    if (existsSync(note)) said = readFileSync(note, 'utf8');
    return said !== '';
  });
  return { data, note: said };
}

it('the data of a server stays until it has ended, and is gone then, also when the run is killed', async () => {
  const { data, note } = await killedRun(true);
  expect(note).toBe('left alone');
  await until('its data to be gone', () => !existsSync(data));
});

it('control: where nobody knows that the server uses it, it is removed under the server, which leaves some behind', async () => {
  const { data, note } = await killedRun(false);
  expect(note).toBe('removed under it');
  expect(existsSync(data)).toBe(true);
});
