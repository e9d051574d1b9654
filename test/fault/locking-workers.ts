import type { LockAdmission } from '../../src/distributed-lock/distributed-lock.admission.js';
import type { RedisStoreOptions } from '../../src/distributed-lock/store/redis/index.js';
import { type WorkerPool, type WorkerProcess, startWorkers } from '../support/processes.js';

export interface Held {
  /** When the process knew it, on the clock that all processes share. */
  readonly at: number;
  readonly token: bigint;
  readonly owner: string;
}

export interface Released {
  /** When the release began. */
  readonly at: number;
  readonly result: 'released' | 'not-held';
}

export interface Look {
  readonly isHeld: boolean;
  readonly error: { readonly code?: unknown } | null;
  readonly lost: boolean;
}

export interface Called {
  readonly ran: boolean;
  readonly error: { readonly code?: unknown; readonly message: string } | null;
  readonly tookMs: number;
}

export interface Section {
  readonly from: number;
  readonly to: number;
  readonly waitedMs: number;
  /** `null` for holders that are not alone. */
  readonly token: bigint | null;
}

export interface WorkerOptions {
  readonly store: Omit<RedisStoreOptions, 'connection'> & { readonly connection: string };
  readonly namespace?: string;
  readonly leaseTime?: string;
  readonly waitTime?: string;
  readonly connectOnBoot?: boolean;
}

/** Processes with one Nest application each, none booted yet. */
export function startLockWorkers(count: number): Promise<WorkerPool> {
  return startWorkers({ script: 'lock-worker.mjs', count });
}

/** Processes with one Nest application each. */
export async function bootLockWorkers(count: number, options: WorkerOptions): Promise<WorkerPool> {
  const pool = await startLockWorkers(count);
  await Promise.all(pool.workers.map((worker) => worker.call('boot', options)));
  return pool;
}

export function acquire(
  worker: WorkerProcess,
  key: string,
  options: LockAdmission & { readonly waitTime?: string; readonly leaseTime?: string } = {},
): Promise<Held> {
  return worker.call<Held>('acquire', { name: key, key, ...options });
}

export function release(worker: WorkerProcess, key: string): Promise<Released> {
  return worker.call<Released>('release', key);
}
