/** The generated parts of `docs/performance.md`, as Markdown. */
import { comfortable, costRows } from '../cost-model.mjs';
import { goals, goalsOfOne, measured } from '../goals.mjs';
import { COLUMNS, written } from '../harness/columns.mjs';
import * as growth from '../workloads/growth.mjs';
import * as hotKey from '../workloads/hot-key.mjs';
import * as hotProcesses from '../workloads/hot-processes.mjs';
import * as idle from '../workloads/idle.mjs';
import * as renewal from '../workloads/renewal.mjs';
import * as uncontended from '../workloads/uncontended.mjs';

const WORKLOADS = {
  uncontended,
  'hot-key': hotKey,
  'hot-processes': hotProcesses,
  idle,
  renewal,
  growth,
};
const OURS = ['ours-store', 'ours-service', 'ours-decorator'];

export function sections(report, drawn) {
  const { workloads } = report;
  return {
    run: run(report),
    goals: goalTable(workloads),
    plots: drawn.map(([file, title]) => `![${title}](performance/${file}.svg)`).join('\n\n'),
    tables: tables(workloads),
    transaction: transaction(workloads.transaction),
    'hand-off': handOff(workloads['hand-off']),
    cost: cost(workloads.footprint),
  };
}

function run({ machine, redis, date, minutes, load, command, versions, violations }) {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `Measured ${date} on ${machine}, Redis ${redis} on loopback without persistence, in ${minutes} minutes by \`${command}\`. Load average ${load[0]} before, ${load[1]} after.`,
    `Violations of mutual exclusion over all contenders: **${violations}**.`,
    `Versions: ${list.join(', ')}.`,
  ].join('\n\n');
}

function goalTable(workloads) {
  const cell = (goal, value) =>
    value === undefined
      ? '–'
      : `${value.toFixed(goal.digits)} ${goal.bound.met(value) ? '✓' : '✗'}`;
  const rows = goals.map((goal) => [
    `${goal.workload}: ${goal.variant}`,
    goal.what,
    goal.bound.text,
    ...OURS.map((name) => cell(goal, measured(goal, name, workloads))),
  ]);
  const single = goalsOfOne.map((goal) => {
    const value = cell(goal, measured(goal, goal.contender, workloads));
    const cells = goal.contender.includes('decorator') ? ['', '', value] : ['', value, ''];
    return [`${goal.workload}: ${goal.variant}`, goal.what, goal.bound.text, ...cells];
  });
  return markdown(
    ['workload', 'figure', 'goal', 'store', 'service', 'decorator'],
    [...rows, ...single],
  );
}

function tables(workloads) {
  return Object.entries(WORKLOADS)
    .flatMap(([name, { title, columns }]) =>
      Object.entries(workloads[name] ?? {}).map(([variant, result]) =>
        [`#### ${title}: ${variant}`, contenderTable(result, columns), notes(result)]
          .filter(Boolean)
          .join('\n\n'),
      ),
    )
    .join('\n\n');
}

function contenderTable({ contenders }, columns) {
  const shown = columns.filter((column) => Object.values(contenders).some((it) => column in it));
  const rows = Object.entries(contenders).map(([name, figures]) => [
    name,
    ...shown.map((column) => written(column, figures[column])),
    String(figures.violations),
  ]);
  return markdown(['contender', ...shown.map((it) => COLUMNS[it].title), 'violations'], rows);
}

function notes({ skipped, failures }) {
  const left = Object.entries(skipped).map(
    ([name, reason]) => `- not measured: ${name}: ${reason}`,
  );
  const failed = Object.entries(failures).map(([name, seen]) => {
    const [[reason, times]] = Object.entries(seen).sort(([, a], [, b]) => b - a);
    return `- ${name}: ${times} × \`${reason.replace(/`/g, "'")}\``;
  });
  return [...left, ...failed].join('\n');
}

function transaction(results) {
  if (!results) return 'Not in this run.';
  const write = (figure) => written('×rate', figure);
  const rows = Object.entries(results['on PostgreSQL'].contenders).map(([name, it]) => [
    name,
    it.ms[0].toFixed(3),
    write(it['×plain']),
    write(it['×locked']),
  ]);
  return markdown(['transaction', 'ms', '× plain', '× withLock + plain'], rows);
}

function handOff(results) {
  if (!results) return 'Not in this run.';
  const ms = (value) => (value === undefined ? '–' : value.toFixed(2));
  const rows = Object.entries(results).map(([store, { all, across, overlaps }]) => [
    store,
    ms(all?.p50),
    ms(all?.p99),
    ms(across?.p50),
    ms(across?.p99),
    String(overlaps ?? '–'),
  ]);
  return markdown(['store', 'p50 ms', 'p99 ms', 'between processes p50', 'p99', 'overlaps'], rows);
}

function cost(results) {
  if (!results) return 'Not in this run.';
  const figures = results['one lock'].contenders['ours-store'];
  const per = Object.entries(figures).map(([what, it]) => [
    what,
    ...[it.out, it.in, it.cpuUs, it.memory].map((value) =>
      value === undefined ? '' : String(value),
    ),
  ]);
  const [head, ...rows] = costRows(figures);
  return [
    markdown(['one', 'bytes to Redis', 'bytes back', 'server CPU, µs', 'memory in Redis, B'], per),
    markdown(head, rows),
    `At ${comfortable(figures)} locks per minute one Redis is half busy.`,
    figures.left.memory > 1
      ? 'Memory is the fences, which stay for 24 h: the number of _different_ keys in a day decides. Keys made of an id that never comes again (`order:{id}`) are the dear ones.'
      : 'After a release nothing stays that grows with the number of keys.',
  ].join('\n\n');
}

function markdown(head, rows) {
  const line = (cells) => `| ${cells.map((it) => it.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = head.map((_, column) => (column === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}
