import { setImmediate as immediate, setTimeout as delay } from 'node:timers/promises';

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

/**
 * Whether it settles before a timer of this process does that is set now: whatever holds the process up delays both, so a busy machine
 * changes nothing. For what ends by a timer of this process, too; what another process does in the meantime takes as long as it likes.
 */
export async function settlesWithin(limitMs: number, promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = (): void => void (settled = true);
  const told = promise.then(settle, settle);
  await immediate(); // what was asked for in this turn of the event loop has been sent
  await Promise.race([told, delay(limitMs, undefined, { ref: false })]);
  // Timers that were due in the same turn have called by then, and whoever they told.
  for (let turn = 0; turn < 3; turn += 1) await immediate();
  return settled;
}
