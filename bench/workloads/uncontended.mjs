/** Everybody has keys of its own: what a lock costs that nobody wants. */
const variant = (callers, ms = 100) => ({
  name: `${callers} at a time`,
  load: 'closed',
  // The ramp is for code and data that the caches have lost since the last turn, which is seconds ago where there are many contenders.
  params: { callers, keys: 'own', workMs: 0, rampMs: 100, ms },
  options: { leaseMs: 30_000, waitMs: 8_000 },
  baseline: 'raw',
  paired: true,
  rounds: 5,
  fullRounds: 15,
});

export const title = 'Uncontended, one process';
export const takesPart = ({ tags }) => !tags.includes('local') && !tags.includes('waits');
export const variants = [variant(1), variant(16), variant(256, 200)];
export const columns = [
  'rate',
  '×rate',
  'acquireP50',
  'acquireP99',
  'cycleP50',
  'cycleP99',
  'sent',
  'serverCalls',
  '×nodeCpu',
  'nodeCpu',
  'serverCpu',
];
