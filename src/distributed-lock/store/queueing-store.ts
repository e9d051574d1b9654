import { randomUUID } from 'node:crypto';
import { MAX_DURATION_MS, show } from '../distributed-lock.duration.js';
import { LockConfigurationError } from '../distributed-lock.errors.js';
import type { LockStore } from './lock-store.js';
import { QueueingLockStore, type TurnBounds } from './queueing.lock-store.js';
import type { TurnBackend } from './turn-backend.js';

const MOST_GRANTS = 1_000;

/**
 * Makes a store of a backend that can only _try_: queues, wait times, aborts, turns, lost answers, `abandon`, `stop` and `close` come from here.
 *
 * One backend object belongs to one store. What its traits must say: `offers: []`, and `fair: 'process'`, unless the backend itself serves
 * processes in order.
 *
 * @param bounds how long one process may keep a key while others wait.
 * @throws {LockConfigurationError} naming the bound, the value and what is allowed.
 */
export function queueingStore(backend: TurnBackend, bounds: TurnBounds = {}): LockStore {
  const { maxGrants = 16, maxTimeMs = 50 } = bounds;
  if (!Number.isInteger(maxGrants) || maxGrants < 1 || maxGrants > MOST_GRANTS)
    throw refused('maxGrants', maxGrants, `a whole number from 1 to ${MOST_GRANTS}`);
  if (!(maxTimeMs >= 0 && maxTimeMs <= MAX_DURATION_MS))
    throw refused('maxTimeMs', maxTimeMs, `0 to ${MAX_DURATION_MS} ms`);
  return new QueueingLockStore(backend, randomUUID(), { maxGrants, maxTimeMs });
}

function refused(option: string, value: unknown, allowed: string): LockConfigurationError {
  return new LockConfigurationError(
    `Option "${option}" of queueingStore is ${show(value)}; allowed: ${allowed}.`,
  );
}
