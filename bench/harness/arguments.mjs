import { parseArgs } from 'node:util';
import { contenders } from '../contenders/index.mjs';

export const WORKLOADS = [
  'uncontended',
  'hot-key',
  'hot-processes',
  'idle',
  'renewal',
  'growth',
  'transaction',
  'footprint',
  'hand-off',
];

const HELP = `npm run bench -- [workload …] [options]

  --only <workloads>        ${WORKLOADS.join(', ')}; comma-separated; the same as naming them
  --variants <text>         only variants whose name contains it
  --contenders <names>      comma-separated; "ours", "limits", "peers" stand for all of them; the baseline is always there
  --full                    every contender and every variant; default: about nine minutes
  --json <file>             writes what was measured
  --docs                    makes this run the one that docs/performance.md shows; with the whole set of workloads
`;

/** @returns what to measure, or `null` after saying why it is not possible. */
export function parseRun(args) {
  try {
    return plan(args);
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    return null;
  }
}

function plan(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      only: { type: 'string' },
      variants: { type: 'string' },
      contenders: { type: 'string' },
      full: { type: 'boolean', default: false },
      json: { type: 'string' },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean' },
    },
  });
  if (values.help) throw new Error('Benchmarks of the lock against its peers and limits.');
  const named = [...positionals, ...list(values.only)];
  return {
    workloads: checked('workload', named, WORKLOADS) ?? WORKLOADS,
    contenders: chosen(list(values.contenders)),
    variants: values.variants ?? null,
    full: values.full,
    json: values.json ?? null,
    docs: values.docs,
    /** What to say to measure the same again. */
    told: args.length === 0 ? [] : ['--', ...withoutFile(args)],
  };
}

function withoutFile(args) {
  const at = args.indexOf('--json');
  return at < 0 ? args : args.toSpliced(at, 2);
}

const list = (text) => text?.split(',').filter(Boolean) ?? [];
const KINDS = { ours: 'ours', limits: 'limit', peers: 'peer' };

/** @returns names, or `null` for the run's own choice. */
function chosen(names) {
  const allowed = contenders.map(({ name }) => name);
  const wanted = names.flatMap((name) =>
    name in KINDS
      ? contenders.filter(({ kind }) => kind === KINDS[name]).map((it) => it.name)
      : [name],
  );
  return checked('contender', wanted, allowed);
}

function checked(what, names, allowed) {
  const unknown = names.filter((name) => !allowed.includes(name));
  if (unknown.length > 0) {
    throw new Error(`There is no ${what} ${unknown.join(', ')}; allowed: ${allowed.join(', ')}.`);
  }
  return names.length > 0 ? names : null;
}
