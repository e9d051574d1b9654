/** What the Redis server of the benchmark has done so far. */
import { Redis } from 'ioredis';
import { median } from '../statistics.mjs';

const PINGS = 200;

export class ServerWatch {
  #redis;

  constructor(url) {
    this.#redis = new Redis(url);
  }

  /**
   * What the server does between `begin` and the end of `work`.
   *
   * @param windowMs the time it is meant for; what is seen in a slightly longer one is scaled down to it.
   * @returns `{ calls, cpuUs }`: commands executed, those of scripts included, and CPU.
   */
  async during(work, windowMs) {
    let before;
    await work(async () => (before = await this.sample()));
    const after = await this.sample();
    const scale = windowMs === undefined ? 1 : windowMs / (after.at - before.at);
    return {
      calls: (after.calls - before.calls - 1) * scale,
      cpuUs: (after.cpuUs - before.cpuUs) * scale,
    };
  }

  async sample() {
    const info = await this.#redis.info('everything');
    const read = (name) => Number(info.match(new RegExp(`^${name}:([\\d.]+)`, 'm'))?.[1]);
    return {
      at: performance.now(),
      calls: read('total_commands_processed'),
      cpuUs: (read('used_cpu_user') + read('used_cpu_sys')) * 1e6,
      memory: read('used_memory'),
    };
  }

  /** @returns the median time of a `PING`, one after the other from this process, in microseconds. */
  async roundTrip() {
    const times = [];
    for (let n = 0; n < PINGS; n += 1) {
      const at = performance.now();
      await this.#redis.ping();
      times.push((performance.now() - at) * 1_000);
    }
    return median(times);
  }

  async version() {
    return (await this.#redis.info('server')).match(/redis_version:(.*)/)?.[1].trim();
  }

  /** Forgets all keys, so that one turn does not pay for another's. */
  empty() {
    return this.#redis.flushall();
  }

  close() {
    this.#redis.disconnect();
  }
}
