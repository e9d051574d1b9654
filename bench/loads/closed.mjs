import { now } from '../harness/clock.mjs';
import { Caller, Journal } from './callers.mjs';

const KEYS_PER_CALLER = 16;

/**
 * Callers in a loop: each asks again as soon as it has released. They begin `rampMs` before the `ms` that count.
 *
 * @param keys `'own'`: every caller has keys of its own; `'hot'`: all callers of all processes want the same one.
 */
export async function closed(contender, { name, callers, keys, workMs, rampMs, ms }) {
  const from = now() + rampMs;
  const journal = new Journal(from, from + ms);
  const cpu = new WindowCpu(journal);
  const hot = { key: `bench:${name}:hot`, inside: false };
  const loop = async (_, index) => {
    const caller = new Caller(contender, journal, workMs);
    const places = keys === 'hot' ? [hot] : ownPlaces(index);
    for (let n = 0; cpu.beforeEnd(); n += 1) await caller.cycle(places[n % places.length]);
    return caller.served;
  };
  const served = await Promise.all(Array.from({ length: callers }, loop));
  return { cpuUs: cpu.usedUs, hot: keys === 'hot', served, ...journal.toMessage() };
}

function ownPlaces(caller) {
  return Array.from({ length: KEYS_PER_CALLER }, (_, n) => ({
    key: `bench:${process.pid}:${caller}:${n}`,
    inside: false,
  }));
}

/** The CPU of this process in the window, read by whoever comes by first at either end: a caller, or a timer. */
class WindowCpu {
  #before = null;
  usedUs = null;

  constructor(window) {
    this.window = window;
    // Callers may all be waiting, and timers may be late: both look.
    for (const at of [window.from, window.until]) setTimeout(() => this.beforeEnd(), at - now());
  }

  beforeEnd() {
    const at = now();
    if (at < this.window.from) return true;
    this.#before ??= process.cpuUsage();
    if (at < this.window.until) return true;
    if (this.usedUs === null) {
      const { user, system } = process.cpuUsage(this.#before);
      this.usedUs = user + system;
    }
    return false;
  }
}
