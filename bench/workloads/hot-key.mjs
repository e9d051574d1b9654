/** All callers of one process want the same key. */
const options = { leaseMs: 30_000, waitMs: 1_000 };
const closed = (callers, workMs, quick) => ({
  name: `${callers} callers, ${workMs} ms work`,
  quick,
  load: 'closed',
  params: { callers, keys: 'hot', workMs, rampMs: 50, ms: 300 },
  options,
  baseline: 'raw',
  rounds: 5,
});
const burst = (callers, quick) => ({
  name: `burst of ${callers}`,
  quick,
  load: 'burst',
  params: { callers, workMs: 0 },
  options: { ...options, waitMs: 8_000 },
  baseline: 'raw',
  rounds: 5,
});

export const title = 'Hot key, one process';
export const takesPart = ({ name, tags }) =>
  name !== 'limit-ping' && tags.some((tag) => tag === 'hot' || tag === 'local');
export const variants = [
  burst(64, true),
  burst(512, false),
  closed(64, 0, false),
  closed(512, 0, true),
  closed(64, 1, false),
  closed(512, 1, false),
];
export const columns = [
  'rate',
  '×rate',
  'servedMs',
  'acquireP50',
  'acquireP99',
  'acquireMax',
  'jain',
  'starved',
  'sent',
  'nodeCpu',
];
