/** Callers that stand still: holders that keep what they have, waiters that do not get it. They stand until their process ends. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const forEver = new Promise(() => undefined);

let heapBefore = 0;
let standing = 0;
/** Holders whose lock ended, and waiters that got in: both must stay 0. */
let moved = 0;

function heap() {
  collectGarbage();
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** @returns once `locks` different keys are held. */
export async function hold(contender, { name, locks }) {
  heapBefore = heap();
  standing = locks;
  const entered = Array.from({ length: locks }, (_, n) => {
    return new Promise((resolve, reject) => {
      const section = () => (resolve(), forEver);
      contender.locked(`bench:${name}:${n}`, section).then(() => (moved += 1), reject);
    });
  });
  await Promise.all(entered);
  return {};
}

/** Has `waiters` callers ask for `keys` keys that another process holds. @returns at once. */
export async function queue(contender, { name, keys, waiters }) {
  heapBefore = heap();
  standing = waiters;
  for (let n = 0; n < waiters; n += 1) {
    const got = () => ((moved += 1), forEver);
    contender.locked(`bench:${name}:${n % keys}`, got).catch(() => (moved += 1));
  }
  return {};
}

/** What standing costs in `ms`. */
export async function stand(_contender, { ms }) {
  const cpu = process.cpuUsage();
  await sleep(ms);
  const used = process.cpuUsage(cpu);
  return { cpuUs: used.user + used.system, moved };
}

/** What one that stands takes of the heap, in bytes. A full collection costs more than standing does, so it belongs behind the windows that count. */
export async function weigh() {
  return { heapPerOne: (heap() - heapBefore) / standing };
}
