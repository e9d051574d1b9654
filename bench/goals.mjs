/** What the lock is to reach, as ratios within one run, and how a run compares. */

const atLeast = (bound) => ({ text: `≥ ${bound}`, met: (it) => it >= bound });
const atMost = (bound) => ({ text: `≤ ${bound}`, met: (it) => it <= bound });
const exactly = (bound) => ({ text: `${bound}`, met: (it) => Math.abs(it - bound) < 0.05 });
const none = { text: '0', met: (it) => it === 0 };

const rate = '×rate';
const goal = (workload, variant, what, read, bound, digits = 2) => ({
  workload,
  variant,
  what,
  read,
  bound,
  digits,
});
const figure = (name) => (figures) => figures[name]?.[0];
const ratioTo =
  (contender, name) =>
  (figures, { contenders }) =>
    figures[name]?.[0] / contenders[contender]?.[name]?.[0];

const ONE = ['uncontended', '1 at a time'];
const BURST = ['hot-key', 'burst of 64'];
const HOT = ['hot-key', '512 callers, 0 ms work'];
const CROSS = ['hot-processes', '4 × 16 callers, 0 ms work'];
const WORK = ['hot-processes', '4 × 16 callers, 2 ms work'];
const IDLE = ['idle', '1000 waiters'];
const RENEWAL = ['renewal', '1000 locks'];

export const goals = [
  goal(...ONE, '× raw', figure(rate), atLeast(0.95)),
  goal(...ONE, 'commands per cycle', figure('sent'), exactly(2)),
  goal('uncontended', '16 at a time', '× raw', figure(rate), atLeast(1.3)),
  goal('uncontended', '16 at a time', 'client CPU × raw', figure('×nodeCpu'), atMost(0.5)),
  goal('uncontended', '256 at a time', '× raw', figure(rate), atLeast(2)),
  goal('uncontended', '256 at a time', 'client CPU × raw', figure('×nodeCpu'), atMost(0.3)),
  goal(...BURST, 'all served after, ms', figure('servedMs'), atMost(5), 1),
  goal(...HOT, '× raw', figure(rate), atLeast(25), 1),
  goal(...HOT, 'commands per cycle', figure('sent'), atMost(0.2)),
  goal(...HOT, 'starved, %', figure('starved'), none, 0),
  goal(...HOT, 'Jain', figure('jain'), atLeast(0.98)),
  goal(...CROSS, '× raw', figure(rate), atLeast(8), 1),
  goal(...CROSS, 'commands per cycle', figure('sent'), atMost(0.3)),
  goal(...CROSS, 'starved, %', figure('starved'), none, 0),
  goal(...CROSS, 'Jain', figure('jain'), atLeast(0.98)),
  goal(...CROSS, 'hand-off p50, round trips', figure('handOffRtt'), atMost(6), 1),
  goal(...WORK, '× raw', figure(rate), atLeast(1.15)),
  goal(...WORK, 'held, % of the time', figure('held'), atLeast(95), 1),
  goal(...WORK, 'p99 wait ÷ median', (it) => it.acquireP99?.[0] / it.acquireP50?.[0], atMost(1.3)),
  goal(...WORK, 'starved, %', figure('starved'), none, 0),
  goal(...IDLE, 'commands/s', figure('sentPerS'), atMost(25), 1),
  goal(...IDLE, 'heap per waiter, B', figure('heapPerOne'), atMost(1_000), 0),
  goal(
    ...IDLE,
    'heap per waiter beside that of the waiting call itself (limit-wait), B',
    (it, { contenders }) => it.heapPerOne?.[0] - contenders['limit-wait']?.heapPerOne?.[0],
    atMost(1_000),
    0,
  ),
  goal(...RENEWAL, 'commands/s', figure('sentPerS'), atMost(4), 1),
  goal(...RENEWAL, 'client CPU × one call for all', ratioTo('raw-batch', 'nodePercent'), atMost(2)),
  goal(
    'growth',
    '1000 waiters over 4 processes, one key',
    'commands per cycle × those of 10 waiters',
    (it, _variant, { growth }, name) =>
      it.sent?.[0] / growth['10 waiters over 4 processes, one key']?.contenders[name]?.sent?.[0],
    atMost(1.1),
  ),
  ...[1, 2, 4, 8].map((count) =>
    goal('growth', `${count} processes × 16 callers, own keys`, '× raw', figure(rate), atLeast(1)),
  ),
];

/** Goals that only one of ours can reach. */
export const goalsOfOne = [
  { ...goal(...ONE, 'decorator, × raw', figure(rate), atLeast(0.93)), contender: 'ours-decorator' },
  {
    ...goal(...ONE, 'release not awaited, × raw', figure(rate), atLeast(1.5)),
    contender: 'ours-lazy',
  },
  {
    ...goal(
      'transaction',
      'on PostgreSQL',
      'decorator, unfenced, × withLock + plain transaction',
      figure('×locked'),
      atMost(1.05),
    ),
    contender: 'decorator, unfenced',
  },
];

/** @returns the figure, or `undefined` where this run has none. */
export function measured({ workload, variant, read }, contender, workloads) {
  const found = workloads[workload]?.[variant];
  const figures = found?.contenders?.[contender];
  if (!figures) return undefined;
  const value = read(figures, found, workloads, contender);
  return Number.isFinite(value) ? value : undefined;
}
