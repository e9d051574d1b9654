import { now } from '../../../distributed-lock.clock.js';
import { usableLease } from '../../turn.js';

/**
 * Parts of the session timeout.
 *
 * A server is told of a session's sign of life at once, the leader, who decides on its end, up to half a tick later: followers collect
 * them. So an answer that came by way of the leader proves only that the leader had heard of the session when the *last heartbeat
 * before it* was sent, or half a tick before; a quarter of the timeout covers both, because a session timeout is at least two ticks.
 * Plain pings prove nothing: a follower that was cut off from the leader goes on answering them.
 */
const HEARTBEATS = 6;
const SILENCE = 3;
const REPORTED_LATE = 4;

/** Until when a session lives on the server for certain. */
export class Liveness {
  #validUntil = -Infinity;

  constructor(private timeoutMs: number) {}

  /** How often to ask. */
  get heartbeatMs(): number {
    return this.timeoutMs / HEARTBEATS;
  }

  /** A request that is older has failed: the connection is given up while there is time to find another. */
  get silenceMs(): number {
    return this.timeoutMs / SILENCE;
  }

  get validUntil(): number {
    return this.#validUntil;
  }

  /** A server has taken the session on, and told the leader so, for a timeout that it has chosen. */
  begins(timeoutMs: number, sentAt: number): void {
    this.timeoutMs = timeoutMs;
    this.#atLeast(sentAt + usableLease(timeoutMs));
  }

  /** The leader has executed a request of the session. */
  confirmed(sentAt: number): void {
    this.#atLeast(sentAt + usableLease(this.timeoutMs - this.timeoutMs / REPORTED_LATE));
  }

  ended(): void {
    this.#validUntil = Math.min(this.#validUntil, now());
  }

  #atLeast(until: number): void {
    if (until > this.#validUntil) this.#validUntil = until;
  }
}
