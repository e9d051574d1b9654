/** How each figure is called and written. */
const fixed =
  (digits, unit = '') =>
  (value) =>
    `${value.toFixed(digits)}${unit}`;
const whole = (value) => Math.round(value).toLocaleString('en');
const us = (value) => (value < 10_000 ? `${whole(value)} µs` : `${whole(value / 1_000)} ms`);
const percent = (value) => `${value.toFixed(value < 10 ? 1 : 0)} %`;

export const COLUMNS = {
  rate: { title: 'cycles/s', write: whole },
  '×rate': { title: '× raw', write: fixed(2), spread: true },
  acquireP50: { title: 'acquire p50', write: us },
  acquireP99: { title: 'p99', write: us },
  acquireMax: { title: 'max', write: us },
  cycleP50: { title: 'cycle p50', write: us },
  cycleP99: { title: 'p99', write: us },
  servedMs: { title: 'all served', write: fixed(1, ' ms') },
  sent: { title: 'commands/cycle', write: fixed(2) },
  serverCalls: { title: 'server calls', write: fixed(1) },
  bytesOut: { title: 'bytes out', write: whole },
  bytesIn: { title: 'bytes in', write: whole },
  nodeCpu: { title: 'client CPU/cycle', write: fixed(1, ' µs') },
  '×nodeCpu': { title: 'client CPU × raw', write: fixed(2) },
  serverCpu: { title: 'server CPU/cycle', write: fixed(1, ' µs') },
  jain: { title: 'Jain', write: fixed(2) },
  starved: { title: 'starved', write: percent },
  held: { title: 'held', write: percent },
  handOffP50: { title: 'hand-off p50', write: us },
  handOffP99: { title: 'p99', write: us },
  handOffRtt: { title: 'in round trips', write: fixed(1) },
  sentPerS: { title: 'commands/s', write: fixed(1) },
  bytesPerS: { title: 'bytes/s', write: whole },
  callsPerS: { title: 'server calls/s', write: whole },
  nodePercent: { title: 'client CPU', write: percent },
  serverPercent: { title: 'server CPU', write: percent },
  heapPerOne: { title: 'heap each', write: (value) => `${whole(value)} B` },
};

/** @param figure `[median, lowest, highest]`, or nothing. */
export function written(name, figure) {
  if (figure === undefined) return '–';
  const { write, spread } = COLUMNS[name];
  const [median, low, high] = figure;
  return spread ? `${write(median)} (${write(low)}–${write(high)})` : write(median);
}
