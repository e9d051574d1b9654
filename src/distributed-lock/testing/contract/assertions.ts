import { ok } from 'node:assert/strict';

export function atLeast(actual: number, limit: number, what: string): void {
  ok(actual >= limit, `${what}: ${actual}, expected at least ${limit}`);
}

export function atMost(actual: number, limit: number, what: string): void {
  ok(actual <= limit, `${what}: ${actual}, expected at most ${limit}`);
}

/** A fencing token, and the last one before it. */
export function isGreater(token: bigint | null, last: bigint): void {
  ok(
    token !== null && token > last,
    `fencing token ${token} after ${last}, expected a greater one`,
  );
}
