/** Shows the race of *cancel* against *submit* over several processes, without and with the lock, and ten workers on one job. */
import 'reflect-metadata';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DataSource } from 'typeorm';
import { type AppConfig, configFromEnvironment, type StoreName } from '../app.config.js';
import { Application } from '../application/application.entity.js';
import { Quote } from '../quote/quote.entity.js';
import { type DemoArguments, parseDemoArguments, USAGE } from './demo.arguments.js';
import { type Lane, overlapsOf, runJobs } from './job-timeline.js';
import { race, type RaceResult } from './race.js';
import { CommandCounter } from './redis-commands.js';
import { progressBar, raceTable, timeline } from './report.js';
import { WorkerPool } from './worker-pool.js';

interface DemoResult {
  readonly processes: number;
  readonly store: StoreName;
  readonly races: readonly RaceResult[];
  readonly jobs: readonly Lane[];
  readonly overlaps: number;
  readonly failures: readonly string[];
}

const say = (text = ''): void => void process.stdout.write(`${text}\n`);

async function demo(
  { rounds, workers, json }: DemoArguments,
  config: AppConfig,
): Promise<DemoResult> {
  const database = await new DataSource({
    type: 'postgres',
    url: config.databaseUrl,
    entities: [Application, Quote],
    synchronize: true,
  }).initialize();
  const commands =
    config.store === 'redis' && config.storeUrl !== null
      ? new CommandCounter(config.storeUrl)
      : null;
  // Locks in memory are seen by no other process: one server, with all callers in it.
  const processes = config.store === 'memory' ? 1 : workers;
  try {
    const races: RaceResult[] = [];
    let jobs: readonly Lane[] = [];
    say(
      `
Cancel against submit, locks in ${config.store}, ${rounds} rounds on ${processes} server ${processes === 1 ? 'process' : 'processes'}:\n`,
    );
    for (const lock of ['off', 'on'] as const) {
      const pool = await servers(lock, processes, config.store);
      try {
        const progress = progressBar(`lock ${lock.padEnd(3)}`, rounds, process.stdout);
        races.push(await race({ lock, rounds, pool, database, commands, progress }));
        if (lock === 'on') jobs = await runJobs(pool);
      } finally {
        await pool.stop();
      }
    }
    const result: DemoResult = {
      processes,
      store: config.store,
      races,
      jobs,
      overlaps: overlapsOf(jobs),
      failures: failuresOf(races, jobs),
    };
    if (json !== null) writeFileSync(json, `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } finally {
    commands?.close();
    await database.destroy();
  }
}

function servers(lock: 'off' | 'on', count: number, store: StoreName): Promise<WorkerPool> {
  const script = fileURLToPath(new URL('demo.worker.js', import.meta.url));
  return WorkerPool.start(
    Array.from({ length: count }, (_, n) => ({
      script,
      name: `server ${n + 1}`,
      env: { LOCK: lock, STORE: store },
    })),
  );
}

/** What the demo promises to show, and did not. */
function failuresOf(races: readonly RaceResult[], jobs: readonly Lane[]): readonly string[] {
  const [off, on] = races;
  const failures: string[] = [];
  if (off?.anomalies === 0)
    failures.push('no anomaly appeared with the lock off: the race was none; try more --rounds');
  if (on && on.anomalies > 0) failures.push(`${on.anomalies} anomalies appeared with the lock on`);
  const overlaps = overlapsOf(jobs);
  if (overlaps > 0) failures.push(`${overlaps} times two workers were inside job1`);
  return failures;
}

function show({ races, jobs, overlaps, failures }: DemoResult): void {
  say(`\n${raceTable(races)}\n`);
  say(
    '  anomaly: a cancelled application with a quote. redis/call: commands sent to Redis per call.',
  );
  say(
    '\nTen workers on job1, each works 100 ms and waits 650 ms at most (· waiting, █ inside, × gave up):\n',
  );
  say(`${timeline(jobs)}\n`);
  say(`  two inside at the same time: ${overlaps}`);
  for (const failure of failures) say(`\nFAILED: ${failure}`);
}

try {
  const args = parseDemoArguments(process.argv.slice(2));
  const env = args.store === null ? process.env : { ...process.env, STORE: args.store };
  const result = await demo(args, configFromEnvironment(env));
  show(result);
  process.exitCode = result.failures.length > 0 ? 1 : 0;
} catch (error) {
  say(`\n${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
  process.exitCode = 2;
}
