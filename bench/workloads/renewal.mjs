/** One process holds 1000 locks with a short lease and has to keep them. */
export const title = 'Renewal: 1000 held locks, lease 3 s';
export const takesPart = ({ tags }) => tags.includes('renews');
export const variants = [
  {
    name: '1000 locks',
    quick: true,
    engine: 'standing',
    before: [{ load: 'hold', locks: 1_000 }],
    observed: 0,
    options: { leaseMs: 3_000, waitMs: 5_000 },
    // The first renewals meet code that was never compiled.
    settleMs: 10_000,
    // Three waves of renewals.
    windowMs: 3_000,
    rounds: 3,
  },
];
export const columns = ['sentPerS', 'callsPerS', 'nodePercent', 'serverPercent', 'heapPerOne'];
