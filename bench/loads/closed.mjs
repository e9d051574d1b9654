import { now } from '../harness/clock.mjs';
import { Caller, Journal } from './callers.mjs';

const KEYS_PER_CALLER = 16;

/**
 * Callers in a loop for `ms`: each asks again as soon as it has released.
 *
 * @param keys `'own'`: every caller has keys of its own; `'hot'`: all callers of all processes want the same one.
 */
export async function closed(contender, { name, callers, keys, workMs, ms }) {
  const journal = new Journal();
  const hot = { key: `bench:${name}:hot`, inside: false };
  const from = now();
  const until = from + ms;
  const cpu = process.cpuUsage();
  let used = null;
  const loop = async (_, index) => {
    const caller = new Caller(contender, journal, workMs);
    const places =
      keys === 'hot'
        ? [hot]
        : Array.from({ length: KEYS_PER_CALLER }, (__, n) => ({
            key: `bench:${process.pid}:${index}:${n}`,
            inside: false,
          }));
    for (let n = 0; now() < until; n += 1) await caller.cycle(places[n % places.length]);
    used ??= process.cpuUsage(cpu); // what callers do after the window does not count
    return caller;
  };
  const all = await Promise.all(Array.from({ length: callers }, loop));
  return {
    from,
    until,
    cpuUs: used.user + used.system,
    hot: keys === 'hot',
    served: all.map((caller) => caller.served),
    ...journal.toMessage(),
  };
}
