import { Redis } from 'ioredis';

/**
 * What a lock sends to Redis. `INFO commandstats` also counts what scripts call on the server (`get`, `set`, `zadd`, …); those are not
 * sent, so only these are added up.
 */
const SENT_BY_CLIENTS = ['eval', 'evalsha', 'subscribe', 'ping'];

/** Counts the commands that clients have sent to a Redis since it started. */
export class CommandCounter {
  readonly #client: Redis;

  constructor(url: string) {
    this.#client = new Redis(url);
  }

  async count(): Promise<number> {
    const info = await this.#client.info('commandstats');
    return SENT_BY_CLIENTS.map((name) =>
      Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(info)?.[1] ?? 0),
    ).reduce((sum, calls) => sum + calls, 0);
  }

  close(): void {
    this.#client.disconnect();
  }
}
