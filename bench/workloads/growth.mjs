/** How cost grows: with processes that have keys of their own, and with waiters for one key. */
const common = {
  load: 'closed',
  options: { leaseMs: 30_000, waitMs: 1_000 },
  baseline: 'raw',
  rounds: 5,
};
const processes = (count) => ({
  ...common,
  name: `${count} processes × 16 callers, own keys`,
  quick: false,
  processes: count,
  params: { callers: 16, keys: 'own', workMs: 0, rampMs: 50, ms: 300 },
});
const waiters = (count, quick) => ({
  ...common,
  name: `${count} waiters over 4 processes, one key`,
  quick,
  processes: 4,
  params: (process) => ({
    callers: Math.floor(count / 4) + (process < count % 4 ? 1 : 0),
    keys: 'hot',
    workMs: 0,
    rampMs: 50,
    ms: 400,
  }),
});

export const title = 'Growth';
export const takesPart = ({ tags }) => tags.includes('hot');
export const variants = [
  ...[1, 2, 4, 8].map(processes),
  waiters(10, true),
  waiters(100, false),
  waiters(1_000, true),
];
export const columns = [
  'rate',
  '×rate',
  'acquireP50',
  'acquireP99',
  'acquireMax',
  'jain',
  'starved',
  'sent',
  'nodeCpu',
  'serverCpu',
];
