/** Runs the planned workloads, one after the other, and says what it saw. */
import { startRedis } from '../../test/support/redis.ts';
import { contenders } from '../contenders/index.mjs';
import { table } from '../statistics.mjs';
import { COLUMNS, written } from './columns.mjs';
import { compare } from './compare.mjs';
import { runScenario } from './scenario.mjs';
import { ServerWatch } from './server.mjs';
import { standStill } from './standing.mjs';
import { Stage } from './turns.mjs';

/** Workloads that bring servers and contenders of their own. */
const SCENARIOS = ['transaction', 'footprint', 'hand-off'];

/** @returns `{ redis, workloads, violations }` */
export async function measure(plan, say) {
  const redis = await startRedis();
  const watch = new ServerWatch(redis.url);
  const context = { url: redis.url, watch };
  const workloads = {};
  const version = await watch.version();
  try {
    for (const name of plan.workloads) {
      if (SCENARIOS.includes(name)) {
        say(`\n${name}\n`);
        workloads[name] = await runScenario(name, say);
        continue;
      }
      workloads[name] = await measureWorkload(name, plan, context, say);
    }
  } finally {
    watch.close();
    await redis.stop();
  }
  return { redis: version, workloads, violations: violationsIn(workloads) };
}

async function measureWorkload(name, plan, context, say) {
  const workload = await import(`../workloads/${name}.mjs`);
  const results = {};
  const stage = new Stage(context.url);
  const variants = workload.variants.filter((it) =>
    plan.variants ? it.name.includes(plan.variants) : plan.full || it.quick !== false,
  );
  for (const variant of variants) {
    const rounds = (plan.full && variant.fullRounds) || variant.rounds;
    const engine = variant.engine === 'standing' ? standStill : compare;
    const result = await engine(
      { ...variant, rounds },
      participants(name, workload, variant, plan),
      {
        ...context,
        stage,
      },
    );
    results[variant.name] = result;
    say(`\n${workload.title}: ${variant.name}\n`);
    say(tableOf(result, workload.columns));
    for (const [contender, reason] of Object.entries(result.skipped)) {
      say(`  not measured: ${contender}: ${reason}`);
    }
  }
  await stage.clear();
  return results;
}

function participants(workload, { takesPart }, { baseline }, plan) {
  const wanted = ({ name, quick }) =>
    plan.contenders ? plan.contenders.includes(name) : plan.full || quick.includes(workload);
  return contenders
    .filter((it) => takesPart(it) && (it.name === baseline || wanted(it)))
    .map((it) => it.name);
}

function tableOf({ contenders: measured, failures }, columns) {
  const shown = columns.filter((column) => Object.values(measured).some((it) => column in it));
  const rows = Object.entries(measured).map(([name, figures]) => [
    name,
    ...shown.map((column) => written(column, figures[column])),
    String(figures.violations),
    String(Object.values(failures[name] ?? {}).reduce((sum, times) => sum + times, 0)),
  ]);
  const head = shown.map((column) => COLUMNS[column].title);
  return table(['contender', ...head, 'violations', 'failed'], rows);
}

function violationsIn(workloads) {
  let found = 0;
  const look = (value) => {
    if (typeof value !== 'object' || value === null) return;
    for (const [name, inner] of Object.entries(value)) {
      if (name === 'violations' || name === 'overlaps') found += inner;
      else look(inner);
    }
  };
  look(workloads);
  return found;
}
