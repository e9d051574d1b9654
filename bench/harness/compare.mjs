/** One variant of a workload: all contenders, in rounds, each against the baseline of its round. */
import { median } from '../statistics.mjs';
import { metricsOf } from './metrics.mjs';
import { orderOf, takeTurn } from './turns.mjs';

/** What is told as a ratio to the baseline of the same round, under this name with a `×` before it. */
const RATIOS = ['rate', 'acquireP50', 'cycleP50', 'nodeCpu', 'serverCpu', 'servedMs'];

/**
 * @param variant `{ name, processes, load, params, options, baseline, paired, rounds }`
 * @returns `{ contenders, skipped, failures }`; a contender's figures are `[median, lowest, highest]` over the rounds.
 */
export async function compare(variant, names, { watch, stage }) {
  const { processes = 1, options, rounds } = variant;
  const { pools, skipped } = await stage.contenders(names, processes, options);
  const turns = Object.fromEntries([...pools.keys()].map((name) => [name, []]));
  const failures = {};
  const turn = async (name, round) => {
    const metered = round < 0;
    const taken = await takeTurn(pools.get(name), callsOf(variant, round, metered), watch);
    for (const { failures: seen, rejected } of taken.results) {
      for (const [reason, times] of Object.entries(seen))
        noteFailure(failures, name, reason, times);
      for (const reason of rejected) noteFailure(failures, name, `unhandled: ${reason}`, 1);
    }
    return metricsOf(taken);
  };
  // The round before the first is for counting on the wire, which takes time.
  for (let round = -1; round < rounds; round += 1) {
    await watch.empty();
    const roundTrip = processes > 1 ? await watch.roundTrip() : NaN;
    for (const [name, metrics] of await playRound(variant, [...pools.keys()], round, turn)) {
      turns[name].push({
        round,
        metrics: { ...metrics, handOffRtt: metrics.handOffP50 / roundTrip },
      });
    }
  }
  const summaries = Object.entries(turns).map(([name, all]) => [name, summaryOf(all)]);
  return { contenders: Object.fromEntries(summaries), skipped, failures };
}

/** Everybody once; in a paired variant with a turn of the baseline before and after each. */
async function playRound({ baseline, paired }, names, round, turn) {
  const has = names.includes(baseline);
  const others = orderOf(
    names.filter((name) => name !== baseline),
    round + 100,
  );
  const taken = [];
  let base = has ? await turn(baseline, round) : null;
  if (has) taken.push([baseline, withRatios(base, [base])]);
  for (const name of others) {
    const metrics = await turn(name, round);
    const bases = [base];
    if (paired && has) bases.push((base = await turn(baseline, round)));
    taken.push([name, has ? withRatios(metrics, bases) : metrics]);
  }
  return taken;
}

function withRatios(metrics, bases) {
  const ratios = RATIOS.map((what) => {
    const base = bases.reduce((sum, it) => sum + it[what], 0) / bases.length;
    return [`×${what}`, metrics[what] / base];
  });
  return {
    ...metrics,
    ...Object.fromEntries(ratios.filter(([, ratio]) => Number.isFinite(ratio))),
  };
}

function callsOf({ name, processes = 1, load, params }, round, metered) {
  return Array.from({ length: processes }, (_, process) => ({
    load,
    metered,
    name: `${name}:${round}`,
    ...(typeof params === 'function' ? params(process) : params),
  }));
}

/** What is counted on the wire comes from the round before the first; violations and failures from all. */
function summaryOf(turns) {
  const summary = {};
  const names = new Set(turns.flatMap(({ metrics }) => Object.keys(metrics)));
  for (const name of names) {
    const always = name === 'violations' || name === 'failed';
    const onWire = name === 'sent' || name.startsWith('bytes');
    const values = turns
      .filter(({ round }) => always || round < 0 === onWire)
      .map(({ metrics }) => metrics[name])
      .filter((value) => Number.isFinite(value));
    if (values.length === 0) continue;
    if (always) summary[name] = values.reduce((sum, value) => sum + value, 0);
    else summary[name] = [median(values), Math.min(...values), Math.max(...values)].map(short);
  }
  return summary;
}

const short = (value) => Number(value.toPrecision(4));

function noteFailure(failures, name, reason, times) {
  failures[name] ??= {};
  failures[name][reason] = (failures[name][reason] ?? 0) + times;
}
