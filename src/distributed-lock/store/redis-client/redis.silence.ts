import type { Redis } from 'ioredis';

/** Notices what is open but silent. */
export interface Silence {
  /** Something came back. */
  heard(): void;
  /** What was sent at `sentAt`, on the scale of `performance.now()`, is not answered yet. */
  unanswered(sentAt: number): void;
}

/**
 * Leaves a connection that is open but silent, because the other side is gone and nobody said so, for a new one.
 *
 * In place of ioredis' `socketTimeout`: that one is missing before 5.4, and up to 5.11 its timer outlives the connection it was set
 * for and ends the next one (https://github.com/redis/ioredis/issues/2147).
 */
export class SilenceWatch implements Silence {
  #heardAt = -Infinity;
  /** For the oldest of what is unanswered: it decides for all. */
  #leaving: NodeJS.Timeout | null = null;

  constructor(
    private readonly client: Redis,
    /** How long nothing may come back after something was sent, in milliseconds. */
    private readonly silentMs: number,
  ) {
    client.on('ready', () => this.heard());
    client.on('end', () => this.#stay());
  }

  heard(): void {
    this.#heardAt = performance.now();
    this.#stay();
  }

  unanswered(sentAt: number): void {
    // Heard since, also from a connection that has replaced the silent one: nothing to leave.
    if (this.#heardAt >= sentAt || this.#leaving || this.client.status === 'end') return;
    const leave = (): void => {
      this.#leaving = null;
      if (this.client.status === 'ready') this.client.disconnect(true);
    };
    const inMs = Math.max(sentAt + this.silentMs - performance.now(), 0);
    this.#leaving = setTimeout(leave, inMs).unref();
  }

  #stay(): void {
    if (this.#leaving) clearTimeout(this.#leaving);
    this.#leaving = null;
  }
}
