import type { Admission } from '../../store/lock-store.js';

export const SHARED: Admission = { mode: 'shared', fair: false };
export const FAIR: Admission = { mode: 'exclusive', fair: true };
export const permit = (permits: number): Admission => ({ mode: 'permit', permits, fair: false });
