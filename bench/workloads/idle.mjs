/** 1000 callers of one process wait for 100 keys that another process holds. */
export const title = 'Idle: 1000 waiters on 100 held keys';
export const takesPart = ({ tags }) => tags.includes('hot') || tags.includes('waits');
export const variants = [
  {
    name: '1000 waiters',
    quick: true,
    engine: 'standing',
    before: [
      { load: 'hold', locks: 100 },
      { load: 'queue', keys: 100, waiters: 1_000 },
    ],
    observed: 1,
    options: { leaseMs: 30_000, waitMs: 60_000 },
    settleMs: 1_000,
    // All five: one period of the safety look, 5 s.
    windowMs: 1_050,
    rounds: 5,
  },
];
export const columns = ['sentPerS', 'callsPerS', 'nodePercent', 'serverPercent', 'heapPerOne'];
