import type { Redis } from 'ioredis';
import type { LockKey } from '../../key/lock-key.js';
import { SilenceWatch } from '../redis-client/redis.silence.js';

/** Puts the name of a process and of its line apart. */
export const LINE = '.line';

/** To a process: the key may be free, or a turn of it is kept for this process. */
export interface WakeUp {
  readonly key: LockKey;
  /** Number of the turn that is offered; `'0'` for none. */
  readonly turn: string;
  /** How long it is kept, in milliseconds. */
  readonly keptMs: number;
}

/** @param message `<turn>:<milliseconds> <key>`, as `call` in `scripts/shared.lua` sends it. */
function wakeUpOf(message: string): WakeUp {
  const [colon, space] = [message.indexOf(':'), message.indexOf(' ')];
  return {
    key: message.slice(space + 1) as LockKey,
    turn: message.slice(0, colon),
    keptMs: Number(message.slice(colon + 1, space)),
  };
}

interface InboxListener {
  woken(wakeUp: WakeUp): void;
  /** To a caller in the line, as `call` in `scripts/shared.lua` sends it. */
  called(message: string): void;
  /** The subscription is confirmed, for the first time or again. */
  subscribed(): void;
  failed(error: unknown): void;
}

/**
 * One subscription per process, for its whole life: wake-ups are addressed to a process and name the key, and the turn if one is offered. A second channel, subscribed
 * along with it, is for the process's callers in the line.
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
    client.on('message', (to: string, message: string) => {
      if (to === channel) listener.woken(wakeUpOf(message));
      else if (message !== '') listener.called(message); // empty: somebody looks whether this process lives
    });
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
      await this.client.subscribe(this.channel, this.channel + LINE);
      this.listener.subscribed();
    } catch (error) {
      this.listener.failed(error);
    }
  }
}
