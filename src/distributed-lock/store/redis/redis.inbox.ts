import type { Redis } from 'ioredis';
import type { LockKey } from '../../key/lock-key.js';
import { SilenceWatch } from '../redis-client/redis.silence.js';

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
  readonly #silence: SilenceWatch;

  constructor(
    private readonly client: Redis,
    private readonly channel: string,
    private readonly listener: InboxListener,
    silentMs: number,
  ) {
    this.#silence = new SilenceWatch(client, silentMs);
    client.on('ready', () => void this.#subscribe());
    client.on('message', (_channel: string, message: string) => listener.woken(message as LockKey));
  }

  /** Notices a connection that is open but silent. Call it from time to time while somebody waits. */
  checkConnection(): void {
    if (this.client.status !== 'ready') return;
    const sentAt = performance.now();
    this.client.ping().then(
      () => this.#silence.heard(),
      () => undefined, // the connection is gone already
    );
    this.#silence.unanswered(sentAt);
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
