/** What one Redis carries: a calculation from the figures of a run. `node bench/cost-model.mjs [results.json]`. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The world that is calculated; change it to yours. */
export const ASSUMED = {
  processes: 200,
  /** How long a lock is held, in milliseconds. */
  holdMs: 100,
  leaseMs: 30_000,
  /** Different keys in 24 h as a share of the locks in that time. A key's fence stays for 24 h. */
  distinctShare: 0.1,
  /** Share of locks that are held longer than a third of the lease, and how long they are held. */
  longShare: 0.001,
  longMs: 60_000,
  /** Share of locks that find the key held by another process: they queue once and are woken once. */
  busyShare: 0.05,
};

const LOCKS_PER_MINUTE = [1e3, 1e4, 1e5, 1e6];
/** A single-threaded server above half a core answers late in every burst. */
const COMFORTABLE = 0.5;

/**
 * @param figures per lock: `acquire`, `renewal`, `wait`, `release` as `{ out, in, cpuUs, memory }`, and `left.memory`.
 * @returns per rate, what one Redis has to do.
 */
export function costModel(figures, world = ASSUMED) {
  const { acquire, renewal, wait, release, left } = figures;
  return LOCKS_PER_MINUTE.map((perMinute) => {
    const locks = perMinute / 60;
    const waits = locks * world.busyShare;
    // Woken, it asks once more.
    const asked = locks + waits;
    const long = locks * world.longShare;
    const held = locks * (world.holdMs / 1_000) + long * (world.longMs / 1_000);
    const renewals = (long * world.longMs) / (world.leaseMs / 3);
    const sum = (what) =>
      asked * acquire[what] + waits * wait[what] + locks * release[what] + renewals * renewal[what];
    const keys = perMinute * 60 * 24 * world.distinctShare;
    return {
      perMinute,
      // A process sends one command for all its renewals of a moment; never more than one per lock.
      commands:
        asked + waits + locks + Math.min(renewals, (world.processes * 3_000) / world.leaseMs),
      cpu: sum('cpuUs') / 1e6,
      bytes: sum('out') + sum('in'),
      held,
      memory: held * acquire.memory + keys * left.memory,
      connections: world.processes * 2,
    };
  });
}

/** @returns the locks per minute at which one Redis is half busy, to two digits. */
export function comfortable(figures, world = ASSUMED) {
  const [{ cpu, perMinute }] = costModel(figures, world);
  return whole(Number(((COMFORTABLE / cpu) * perMinute).toPrecision(2)));
}

const whole = (value) => Math.round(value).toLocaleString('en');

/** @returns the model as rows of text, the head first. */
export function costRows(figures, world = ASSUMED) {
  const head = [
    'locks/min',
    'commands/s',
    'server CPU',
    'network',
    'held at a time',
    'memory',
    'connections',
  ];
  const rows = costModel(figures, world).map((it) => [
    whole(it.perMinute),
    whole(it.commands),
    `${(it.cpu * 100).toPrecision(2)} % of a core`,
    `${(it.bytes / 1e6).toPrecision(2)} MB/s`,
    whole(it.held),
    it.memory < 1e9 ? `${whole(it.memory / 1e6)} MB` : `${(it.memory / 1e9).toFixed(1)} GB`,
    whole(it.connections),
  ]);
  return [head, ...rows];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file = fileURLToPath(new URL('../docs/performance/results.json', import.meta.url))] =
    process.argv;
  const { workloads } = JSON.parse(readFileSync(file, 'utf8'));
  const figures = workloads.footprint['one lock'].contenders['ours-store'];
  const { table } = await import('./statistics.mjs');
  const [head, ...rows] = costRows(figures);
  console.log(table(head, rows));
  console.log(`\nOne Redis is half busy at ${comfortable(figures)} locks per minute.`);
  console.log(`Assumed: ${JSON.stringify(ASSUMED)}`);
}
