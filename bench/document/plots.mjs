/** Which figures are drawn. */
import { contenders } from '../contenders/index.mjs';
import { bars, lines } from './svg.mjs';

const kindOf = (name) => contenders.find((it) => it.name === name)?.kind ?? 'limit';

/** Microseconds are drawn as milliseconds. */
const PER_UNIT = { acquireMax: 1_000 };

const BARS = [
  [
    'uncontended-1',
    'uncontended',
    '1 at a time',
    '×rate',
    'Uncontended, 1 at a time: cycles/s × raw',
  ],
  [
    'uncontended-16',
    'uncontended',
    '16 at a time',
    '×rate',
    'Uncontended, 16 at a time: cycles/s × raw',
  ],
  [
    'uncontended-256',
    'uncontended',
    '256 at a time',
    '×rate',
    'Uncontended, 256 at a time: cycles/s × raw',
  ],
  [
    'burst-64',
    'hot-key',
    'burst of 64',
    'servedMs',
    '64 callers ask for one key at once: all served after, ms',
  ],
  [
    'hot-key-512',
    'hot-key',
    '512 callers, 0 ms work',
    '×rate',
    'Hot key, one process, 512 callers: cycles/s × raw',
  ],
  [
    'hot-key-512-starved',
    'hot-key',
    '512 callers, 0 ms work',
    'starved',
    'Hot key, one process, 512 callers: % of callers without any grant',
  ],
  [
    'hot-processes-0',
    'hot-processes',
    '4 × 16 callers, 0 ms work',
    '×rate',
    'Hot key, 4 processes × 16 callers, no work: cycles/s × raw',
  ],
  [
    'hot-processes-wait',
    'hot-processes',
    '4 × 16 callers, 2 ms work',
    'acquireMax',
    'Hot key, 4 processes × 16 callers, 2 ms work: longest wait, ms',
  ],
  ['idle', 'idle', '1000 waiters', 'sentPerS', '1000 waiters on 100 held keys: commands/s'],
  ['renewal', 'renewal', '1000 locks', 'sentPerS', '1000 held locks, lease 3 s: commands/s'],
];

const LINES = [
  [
    'growth-waiters-rate',
    /^(\d+) waiters/,
    'rate',
    'One key, 10 to 1000 waiters over 4 processes: cycles/s',
  ],
  [
    'growth-waiters-commands',
    /^(\d+) waiters/,
    'sent',
    'One key, 10 to 1000 waiters over 4 processes: commands per cycle',
  ],
  [
    'growth-processes',
    /^(\d+) processes/,
    'rate',
    'Own keys, 1 to 8 processes × 16 callers: cycles/s',
  ],
];

/** @returns `[file name without .svg, title, SVG text]` of every plot that the run has figures for. */
export function plots(workloads) {
  return [
    ...BARS.map(([file, workload, variant, metric, title]) => {
      const rows = rowsOf(workloads[workload]?.[variant]?.contenders ?? {}, metric);
      return rows.length > 0 ? [file, title, bars(title, rows)] : null;
    }),
    ...LINES.map(([file, pattern, metric, title]) => {
      const series = seriesOf(workloads.growth ?? {}, pattern, metric);
      return series.length > 0 ? [file, title, lines(title, series)] : null;
    }),
  ].filter((it) => it !== null);
}

function rowsOf(measured, metric) {
  return Object.entries(measured)
    .filter(([, figures]) => figures[metric])
    .map(([name, figures]) => ({
      name,
      kind: kindOf(name),
      value: figures[metric].map((it) => it / (PER_UNIT[metric] ?? 1)),
    }));
}

function seriesOf(growth, pattern, metric) {
  const series = new Map();
  for (const [variant, { contenders: measured }] of Object.entries(growth)) {
    const x = Number(variant.match(pattern)?.[1]);
    if (!x) continue;
    for (const [name, figures] of Object.entries(measured)) {
      const y = figures[metric]?.[0];
      if (!(y > 0)) continue;
      if (!series.has(name)) series.set(name, { name, kind: kindOf(name), points: [] });
      series.get(name).points.push([x, y]);
    }
  }
  return [...series.values()].filter((it) => it.points.length > 1);
}
