/** What the Redis server of the benchmark has done so far. */
import { Redis } from 'ioredis';

export class ServerWatch {
  #redis;

  constructor(url) {
    this.#redis = new Redis(url);
  }

  /** @returns commands executed, those of scripts included, and CPU in microseconds, since the server started. */
  async sample() {
    const info = await this.#redis.info('everything');
    const read = (name) => Number(info.match(new RegExp(`^${name}:([\\d.]+)`, 'm'))?.[1]);
    return {
      calls: read('total_commands_processed'),
      cpuUs: (read('used_cpu_user') + read('used_cpu_sys')) * 1e6,
      memory: read('used_memory'),
    };
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
