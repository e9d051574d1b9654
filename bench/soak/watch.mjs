/** What a process and a server hold at a quiet moment. */
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { liveTimers } from './live-timers.mjs';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

/** @param signal one that was given to every call. */
export async function look(admin, signal) {
  for (let n = 0; n < 3; n += 1) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  const info = await admin.info('everything');
  const read = (name) => Number(info.match(new RegExp(`^${name}:([\\d.]+)`, 'm'))?.[1]);
  return {
    heap: process.memoryUsage().heapUsed,
    timers: liveTimers(),
    sockets: process.getActiveResourcesInfo().filter((it) => it === 'TCPSocketWrap').length,
    listeners:
      getEventListeners(signal, 'abort').length +
      process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
    connections: read('connected_clients'),
    keys: await admin.dbsize(),
    locks: await countOf(admin, (key, type) => type === 'zset' || key.endsWith(':lock')),
  };
}

async function countOf(admin, matches) {
  const keys = await admin.keys('*');
  const types = await Promise.all(keys.map((key) => admin.type(key)));
  return keys.filter((key, n) => matches(key, types[n])).length;
}
