import { now } from '../harness/clock.mjs';
import { Caller, Journal } from './callers.mjs';

/** All callers ask for one key at the same moment, once. */
export async function burst(contender, { name, callers, workMs }) {
  const journal = new Journal();
  const place = { key: `bench:${name}:burst`, inside: false };
  const from = now();
  const cpu = process.cpuUsage();
  const all = Array.from({ length: callers }, () => new Caller(contender, journal, workMs));
  await Promise.all(all.map((caller) => caller.cycle(place)));
  const used = process.cpuUsage(cpu);
  return {
    from,
    until: now(),
    cpuUs: used.user + used.system,
    hot: true,
    served: all.map((caller) => caller.served),
    ...journal.toMessage(),
  };
}
