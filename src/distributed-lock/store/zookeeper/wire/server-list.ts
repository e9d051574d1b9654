import type { ServerAddress } from './connect-string.js';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;

/** Which server to try next, and when. Starts anywhere, so that clients spread over an ensemble. */
export class ServerList {
  #next: number;
  /** Servers tried since one answered. */
  #failures = 0;

  constructor(private readonly servers: readonly ServerAddress[]) {
    this.#next = Math.floor(Math.random() * servers.length);
  }

  get size(): number {
    return this.servers.length;
  }

  next(): ServerAddress {
    const server = this.servers[this.#next % this.servers.length]!;
    this.#next += 1;
    return server;
  }

  answered(): void {
    this.#failures = 0;
  }

  /** @returns how long to wait before the next one: not at all while each has not been tried once, then longer and longer. */
  failed(): number {
    const rounds = Math.floor(this.#failures / this.servers.length);
    this.#failures += 1;
    if (rounds === 0) return 0;
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(rounds - 1, 10), LONGEST_PAUSE_MS);
    return longest * (0.5 + Math.random() / 2);
  }
}
