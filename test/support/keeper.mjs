/**
 * Keeps a throwaway server for the process that started it, and takes it away when that process ends, in whatever way.
 *
 * The keeper is detached, so that a Ctrl-C at the terminal does not reach it; the end of its standard input is the
 * signal: the operating system closes that pipe even when the starting process is killed with SIGKILL.
 *
 * argv[2], JSON: { command?, args?, uid?, gid?, cwd?, env?, log?, stopSignal?, lifeline?, remove?: path, cleanUp?: [command, ...args] }
 * lifeline: descriptor 3 is the standard input of another keeper, which waits for this one and for the server as well
 * stdout, one line each: { "pid": n } once started, { "exit": code, "signal": name } when the server is gone.
 */
import { spawn, spawnSync } from 'node:child_process';
import { openSync, rmSync } from 'node:fs';

const task = JSON.parse(process.argv[2]);
const KILL_AFTER_MS = 5_000;
let server;

const say = (message) => {
  try {
    process.stdout.write(`${JSON.stringify(message)}\n`);
  } catch {
    // Nobody listens any more: the clean-up below does not depend on it.
  }
};
process.stdout.on('error', () => {});

function finish() {
  if (task.cleanUp) spawnSync(task.cleanUp[0], task.cleanUp.slice(1), { stdio: 'ignore' });
  if (task.remove) rmSync(task.remove, { recursive: true, force: true, maxRetries: 20 });
  process.exit(0);
}

function stop() {
  if (!server || server.exitCode !== null || server.signalCode !== null) return finish();
  server.kill(task.stopSignal ?? 'SIGTERM');
  server.kill('SIGCONT'); // a frozen server cannot stop
  setTimeout(() => server.kill('SIGKILL'), KILL_AFTER_MS);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop);
process.stdin.on('end', stop).on('error', stop).resume();

if (task.command) {
  const output = task.log ? openSync(task.log, 'a') : 'ignore';
  server = spawn(task.command, task.args ?? [], {
    cwd: task.cwd,
    env: { ...process.env, ...task.env },
    uid: task.uid,
    gid: task.gid,
    stdio: ['ignore', output, output, ...(task.lifeline ? [3] : [])],
    detached: true,
  });
  server.on('error', (error) => {
    say({ exit: -1, signal: error.message });
    finish();
  });
  server.on('exit', (exit, signal) => {
    say({ exit, signal });
    finish();
  });
  server.on('spawn', () => say({ pid: server.pid }));
} else {
  say({ pid: process.pid });
}
