import type { Redis } from 'ioredis';
import type { LockKey } from '../../key/lock-key.js';

interface InboxListener {
  woken(key: LockKey): void;
  /** The subscription is confirmed, for the first time or again. */
  subscribed(): void;
  failed(error: unknown): void;
}

/**
 * One subscription per process, for its whole life: wake-ups are addressed to a process and name the key.
 *
 * Messages sent while the connection is down are lost. So after every (re)connection, once the subscription is confirmed, every
 * waiting key is looked at again.
 */
export class RedisInbox {
  constructor(
    private readonly client: Redis,
    private readonly channel: string,
    private readonly listener: InboxListener,
  ) {
    client.on('ready', () => void this.#subscribe());
    client.on('message', (_channel: string, message: string) => listener.woken(message as LockKey));
  }

  /** Notices a connection that is open but silent. Call it from time to time while somebody waits. */
  checkConnection(): void {
    if (this.client.status === 'ready') this.client.ping().catch(() => undefined);
  }

  async #subscribe(): Promise<void> {
    try {
      await this.client.subscribe(this.channel);
      this.listener.subscribed();
    } catch (error) {
      this.listener.failed(error);
    }
  }
}
