/** Figures of one turn, from what the processes and the server report. */
import { quantile } from '../statistics.mjs';

/** Times are microseconds, unless the name says otherwise; `undefined` where there is nothing to say. */
export function metricsOf({ results, server }) {
  const from = Math.max(...results.map((it) => it.from));
  const until = Math.min(...results.map((it) => it.until));
  const spans = spansOf(results);
  const inside = spans.filter((it) => it.entered >= from && it.entered < until);
  const perCycle = (total) => (inside.length === 0 ? undefined : total / inside.length);
  const served = results.flatMap((it) => it.served);
  return {
    rate: inside.length / ((until - from) / 1_000),
    ...latencies(results),
    servedMs: spans.length === 0 ? undefined : spans.at(-1).left - from,
    nodeCpu: perCycle(sum(results.map((it) => it.cpuUs))),
    serverCpu: perCycle(server.cpuUs),
    serverCalls: perCycle(server.calls),
    ...metered(results, spans.length),
    jain: jain(served),
    starved: (100 * served.filter((it) => it === 0).length) / served.length,
    held: (100 * sum(inside.map((it) => it.left - it.entered))) / (until - from),
    ...handOffs(inside),
    violations: overlaps(spans) + sum(results.map((it) => it.violations)),
    failed: sum(results.flatMap((it) => Object.values(it.failures))),
  };
}

/** Two holders at a time: each section that began before another one had ended. Only of loads with one key. */
function overlaps(spans) {
  let [found, latest] = [0, -Infinity];
  for (const { entered, left, hot } of spans) {
    if (!hot) continue;
    if (entered < latest) found += 1;
    latest = Math.max(latest, left);
  }
  return found;
}

function spansOf(results) {
  const spans = results.flatMap(({ spans: flat, hot }, process) =>
    Array.from({ length: flat.length / 2 }, (_, n) => ({
      entered: flat[2 * n],
      left: flat[2 * n + 1],
      process,
      hot,
    })),
  );
  return spans.sort((a, b) => a.entered - b.entered);
}

function latencies(results) {
  const of = (name) => Float64Array.from(results.flatMap((it) => [...it[name]]));
  const [waits, cycles] = [of('waits'), of('cycles')];
  if (waits.length === 0) return {};
  const us = (values, share) => quantile(values, share) * 1_000;
  return {
    acquireP50: us(waits, 0.5),
    acquireP99: us(waits, 0.99),
    acquireMax: us(waits, 1),
    cycleP50: us(cycles, 0.5),
    cycleP99: us(cycles, 0.99),
  };
}

function metered(results, cycles) {
  const meters = results.map((it) => it.meter).filter((it) => it !== null);
  if (meters.length === 0 || cycles === 0) return {};
  const perCycle = (what) => sum(meters.map((it) => it[what])) / cycles;
  return {
    sent: perCycle('commands'),
    bytesOut: perCycle('bytesOut'),
    bytesIn: perCycle('bytesIn'),
  };
}

/** From one process' release to another's entry. */
function handOffs(spans) {
  const gaps = [];
  for (let n = 1; n < spans.length; n += 1) {
    if (spans[n].process === spans[n - 1].process) continue;
    gaps.push(Math.max(spans[n].entered - spans[n - 1].left, 0) * 1_000);
  }
  if (gaps.length === 0) return {};
  return { handOffP50: quantile(gaps, 0.5), handOffP99: quantile(gaps, 0.99) };
}

/** R. Jain, D. Chiu, W. Hawe: A quantitative measure of fairness (1984). 1 is equal shares, 1/n is one caller that has all. */
function jain(shares) {
  const squares = sum(shares.map((it) => it * it));
  return squares === 0 ? undefined : sum(shares) ** 2 / (shares.length * squares);
}

function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
