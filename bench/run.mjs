/** Builds the library, installs the contenders, starts servers of its own and measures. `npm run bench -- --help`. */
import '../.ci/typescript.mjs';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { parseRun } from './harness/arguments.mjs';
import { installContenders } from './harness/install.mjs';
import { machine } from './harness/machine.mjs';

const plan = parseRun(process.argv.slice(2));
if (plan === null) process.exit(2);
installContenders();
const { ensureBuilt } = await import('../test/support/build.ts');
await ensureBuilt();
const { measure } = await import('./harness/measure.mjs');

const startedAt = Date.now();
const loadBefore = loadavg()[0];
const results = await measure(plan, console.log);
const report = {
  command: ['npm run bench', ...plan.told].join(' '),
  date: new Date(startedAt).toISOString().slice(0, 10),
  load: [loadBefore, loadavg()[0]].map((it) => Number(it.toFixed(1))),
  minutes: Number(((Date.now() - startedAt) / 60_000).toFixed(1)),
  ...(await machine()),
  ...results,
};
console.log(`\n${report.machine}, ${report.minutes} minutes: ${report.command}`);
if (plan.docs) await (await import('./document.mjs')).publish(report);
if (plan.json) writeFileSync(plan.json, `${JSON.stringify(report)}\n`);
process.exit(results.violations > 0 ? 1 : 0);
