/** Mixed load for ten minutes; ends with 1 if anything grows, is left behind, or two hold one key. `npm run soak -- --minutes 1`. */
import { startedBy } from './soak/live-timers.mjs';
import '../.ci/typescript.mjs';
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { installContenders } from './harness/install.mjs';
import { LEAKS } from './soak/leaks.mjs';
import { verdict } from './soak/verdict.mjs';
import { table } from './statistics.mjs';

const SAMPLES = 24;
/** A lock whose release was lost ends with its lease of 2 s. */
const SETTLE_MS = 2_500;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    leak: { type: 'string', default: 'none' },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0) || !(values.leak in LEAKS)) {
  console.error(
    `--minutes is ${values.minutes}; allowed: a number above 0. --leak is ${values.leak}; allowed: ${Object.keys(LEAKS).join(', ')}.`,
  );
  process.exit(2);
}

installContenders();
const { ensureBuilt } = await import('../test/support/build.ts');
await ensureBuilt();
const { startRedis } = await import('../test/support/redis.ts');
const { startPostgres } = await import('../test/support/postgres.ts');
const { Redis } = await import('ioredis');
const { look } = await import('./soak/watch.mjs');
const { Load } = await import('./soak/load.mjs');
const { openApps } = await import('./soak/apps.mjs');

const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
const admin = new Redis(redis.url);
const none = new AbortController().signal;
const before = await look(admin, none);
const apps = await openApps({ redis: redis.url, postgres: postgres.url });
const load = new Load(apps, admin, () =>
  LEAKS[values.leak]({ admin, port: redis.port, signal: load.signal }),
);
setMaxListeners(0, load.signal);

console.log(
  `${minutes} minutes of mixed load, ${SAMPLES} quiet moments${values.leak === 'none' ? '' : `, leaking ${values.leak}`}`,
);
load.start();
const samples = [];
while (samples.length < SAMPLES) {
  await sleep((minutes * 60_000) / SAMPLES);
  await load.pause();
  await settled();
  samples.push(await look(admin, load.signal));
  load.resume();
}
await load.end();
await Promise.all(apps.map((app) => app.close()));
const after = await lookAfterClose();

const grown = verdict(samples);
const left = ['timers', 'sockets', 'listeners', 'connections', 'locks'].map((name) => ({
  name: `${name}, after close`,
  early: before[name],
  late: after[name],
  ok: after[name] <= before[name],
}));
const truth = [
  { name: 'two holders', early: 0, late: load.violations, ok: load.violations === 0 },
  { name: 'unexpected errors', early: 0, late: unexpected(), ok: unexpected() === 0 },
];
const checks = [...grown, ...left, ...truth];
console.log(
  table(
    ['what', 'early', 'late', ''],
    checks.map(({ name, early, late, ok }) => [
      name,
      String(early),
      String(late),
      ok ? 'ok' : 'NOT OK',
    ]),
  ),
);
console.log(load.counts);
if (after.timers > before.timers) console.log(startedBy().slice(0, 3).join('\n'));
admin.disconnect();
await Promise.all([redis.stop(), postgres.stop()]);
process.exit(checks.every(({ ok }) => ok) ? 0 : 1);

async function settled() {
  const until = performance.now() + SETTLE_MS;
  while (performance.now() < until && (await look(admin, load.signal)).locks > 0) await sleep(50);
}

/** Sockets that were ended are still closing: ioredis gives the other side 2 s to answer. */
async function lookAfterClose() {
  const until = performance.now() + SETTLE_MS;
  for (;;) {
    const seen = await look(admin, none);
    if (seen.timers <= before.timers || performance.now() > until) return seen;
    await sleep(50);
  }
}

function unexpected() {
  const seen = Object.entries(load.counts).filter(([what]) => what.startsWith('unexpected'));
  return seen.reduce((sum, [, times]) => sum + times, 0);
}
