/**
 * Kills worker processes that outlive the run. Reads lines `+pid` and `-pid` from its standard input; when that ends,
 * because the run ended or was killed, every process still listed gets SIGKILL. A worker that was frozen with SIGSTOP
 * cannot notice the end of the run by itself.
 */
import { createInterface } from 'node:readline';

const alive = new Set();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const pid = Number(line.slice(1));
    if (line.startsWith('+')) alive.add(pid);
    else alive.delete(pid);
  })
  .on('close', () => {
    for (const pid of alive) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Already gone, which is what was wanted.
      }
    }
  });
