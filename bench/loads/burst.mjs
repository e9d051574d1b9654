import { now } from '../harness/clock.mjs';
import { Caller, Journal } from './callers.mjs';

/** All callers ask for one key at the same moment, once. */
export async function burst(contender, { name, callers, workMs }) {
  const journal = new Journal(now(), Infinity);
  const place = { key: `bench:${name}:burst`, inside: false };
  const all = Array.from({ length: callers }, () => new Caller(contender, journal, workMs));
  const before = process.cpuUsage();
  await Promise.all(all.map((caller) => caller.cycle(place)));
  const { user, system } = process.cpuUsage(before);
  const served = all.map((caller) => caller.served);
  return { cpuUs: user + system, hot: true, served, ...journal.toMessage(), until: now() };
}
