import { setTimeout as delay } from 'node:timers/promises';

/**
 * Polls a condition. What tests use in place of "sleep and hope".
 *
 * @throws {Error} naming `what` when the deadline passes; an error of `condition` ends it at once.
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { deadlineMs = 10_000, everyMs = 5 }: { deadlineMs?: number; everyMs?: number } = {},
): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() >= end) throw new Error(`Waited ${deadlineMs} ms in vain for ${what}.`);
    await delay(everyMs);
  }
}
