import type { Lane } from './job-timeline.js';
import type { RaceResult } from './race.js';

const LANE_WIDTH = 72;

/** The two modes side by side. */
export function raceTable(results: readonly RaceResult[]): string {
  const head = [
    'lock',
    'rounds',
    'cancelled',
    'quoted',
    'refused',
    'anomalies',
    'p50 ms',
    'p99 ms',
    'redis/call',
  ];
  const rows = results.map((it) => [
    it.lock,
    String(it.rounds),
    String(it.cancelled),
    String(it.quoted),
    String(it.refused),
    String(it.anomalies),
    it.p50Ms.toFixed(1),
    it.p99Ms.toFixed(1),
    it.redisCommandsPerCall === null ? '–' : it.redisCommandsPerCall.toFixed(2),
  ]);
  const widths = head.map((name, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]!.length), name.length),
  );
  const line = (row: readonly string[]): string =>
    `  ${row.map((cell, column) => cell.padStart(widths[column]!)).join('   ')}`;
  return [line(head), line(widths.map((width) => '─'.repeat(width))), ...rows.map(line)].join('\n');
}

/** A lane per worker: `·` waiting, `█` holding the lock, `×` gave up. */
export function timeline(lanes: readonly Lane[]): string {
  const end = Math.max(...lanes.map((lane) => lane.released ?? lane.failed ?? 0));
  const column = (ms: number): number => Math.round((ms / end) * (LANE_WIDTH - 1));
  const rows = lanes.map((lane) => {
    const cells = Array.from({ length: LANE_WIDTH }, () => ' ');
    const until = lane.acquired ?? lane.failed ?? end;
    cells.fill('·', column(lane.attempted), column(until));
    if (lane.acquired !== null)
      cells.fill('█', column(lane.acquired), column(lane.released ?? end) + 1);
    if (lane.failed !== null) cells[column(lane.failed)] = '×';
    return `  ${lane.worker.padEnd(10)} ${cells.join('')}  ${words(lane)}`;
  });
  return [
    ...rows,
    `  ${' '.repeat(11)}0 ms${`${end.toFixed(0)} ms`.padStart(LANE_WIDTH - 4)}`,
  ].join('\n');
}

function words({ attempted, acquired, released, failed }: Lane): string {
  const ms = (at: number | null): string => (at === null ? '?' : at.toFixed(0).padStart(4));
  if (failed !== null) return `attempted ${ms(attempted)}  failed   ${ms(failed)}`;
  return `attempted ${ms(attempted)}  acquired ${ms(acquired)}  released ${ms(released)}`;
}

/** A bar that is drawn over itself on a terminal, and a line per tenth elsewhere. */
export function progressBar(
  label: string,
  total: number,
  out: NodeJS.WriteStream,
): (done: number) => void {
  let shown = -1;
  return (done) => {
    const tenth = Math.floor((done / total) * 10);
    if (out.isTTY) {
      const filled = Math.round((done / total) * 30);
      out.write(
        `\r  ${label} ${'█'.repeat(filled)}${'░'.repeat(30 - filled)} ${done}/${total}${done === total ? '\n' : ''}`,
      );
    } else if (tenth !== shown) {
      shown = tenth;
      out.write(`  ${label} ${done}/${total}\n`);
    }
  };
}
