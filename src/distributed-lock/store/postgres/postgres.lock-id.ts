import { createHash } from 'node:crypto';
import type { LockId } from '../session-link.js';

/**
 * Advisory locks are numbers: the first and the second 64 bits of a SHA-256 over everything that tells two locks apart.
 *
 * Among a million live keys two share a number with odds of about 3 in 10^8; they then exclude each other, nothing worse.
 *
 * @param sequence the qualified name of the token sequence: who draws tokens elsewhere does not share locks either.
 */
export function lockId(sequence: string, namespace: string, key: string): LockId {
  const digest = createHash('sha256').update(`${sequence}\0${namespace}\0${key}`).digest();
  return {
    lock: digest.readBigInt64BE(0).toString(),
    wait: digest.readBigInt64BE(8).toString(),
  };
}

/** The channel on which the releases of one namespace are told. */
export function channelOf(sequence: string, namespace: string): string {
  const digest = createHash('sha256').update(`${sequence}\0${namespace}`).digest('hex');
  return `distributed_lock_${digest.slice(0, 24)}`;
}
