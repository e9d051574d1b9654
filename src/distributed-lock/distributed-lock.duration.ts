import { LockConfigurationError } from './distributed-lock.errors.js';

/** Milliseconds as a number, or a text: `'250ms'`, `'10s'`, `'5m'`, `'1h'`. */
export type Duration = number | string;

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Node fires longer timers at once, so nothing longer is accepted: 24 days. */
export const MAX_DURATION_MS = 2_147_483_647;

/**
 * @returns milliseconds.
 * @throws {LockConfigurationError} naming the option, what was given and what is allowed.
 */
export function durationMs(option: string, value: unknown, minimumMs: number): number {
  const ms = parse(value);
  if (ms === undefined) {
    throw new LockConfigurationError(
      `Option "${option}" is ${show(value)}; allowed: milliseconds as a number, or a text such as '250ms', '10s', '5m', '1h'.`,
    );
  }
  if (ms < minimumMs || ms > MAX_DURATION_MS) {
    throw new LockConfigurationError(
      `Option "${option}" is ${show(value)}; allowed: ${minimumMs} ms to ${MAX_DURATION_MS} ms (24 days).`,
    );
  }
  return ms;
}

function parse(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  if (typeof value !== 'string') return undefined;
  const match = /^(-?\d+(?:\.\d+)?) ?(ms|s|m|h)$/.exec(value.trim());
  return match ? Number(match[1]) * UNITS[match[2]!]! : undefined;
}

/** How a rejected option value is shown. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) {
    try {
      return JSON.stringify(value) ?? 'an object';
    } catch {
      return 'an object'; // circular: its content does not help the reader
    }
  }
  return String(value);
}
