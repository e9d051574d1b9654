import type { Redis } from 'ioredis';

/** Asks how many replicas have what was written: one WAIT for all who ask while another one is under way. */
export class ReplicaConfirmation {
  #current: Promise<unknown> = Promise.resolve();
  #next: Promise<number> | null = null;

  constructor(
    /** The connection that wrote: WAIT is about the writes of its own connection. */
    private readonly client: Pick<Redis, 'wait'>,
  ) {}

  /** @returns how many replicas, after `timeoutMs` at the latest; no need to wait for more than `wanted`. */
  count(wanted: number, timeoutMs: number): Promise<number> {
    this.#next ??= this.#afterCurrent(wanted, timeoutMs);
    return this.#next;
  }

  async #afterCurrent(wanted: number, timeoutMs: number): Promise<number> {
    await this.#current;
    this.#next = null;
    const answer = this.client.wait(wanted, timeoutMs);
    this.#current = answer.catch(() => undefined); // told to those who asked
    return answer;
  }
}
