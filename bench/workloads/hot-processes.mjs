/** Four processes with 16 callers each want the same key. */
const variant = (workMs) => ({
  name: `4 × 16 callers, ${workMs} ms work`,
  quick: true,
  processes: 4,
  load: 'closed',
  params: { callers: 16, keys: 'hot', workMs, rampMs: 50, ms: 400 },
  options: { leaseMs: 30_000, waitMs: 1_000 },
  baseline: 'raw',
  rounds: 5,
});

export const title = 'Hot key, several processes';
export const takesPart = ({ tags }) => tags.includes('hot');
export const variants = [variant(0), variant(2)];
export const columns = [
  'rate',
  '×rate',
  'handOffP50',
  'handOffRtt',
  'handOffP99',
  'held',
  'acquireP50',
  'acquireP99',
  'acquireMax',
  'jain',
  'starved',
  'sent',
  'nodeCpu',
  'serverCpu',
];
