import { now } from '../distributed-lock.clock.js';

/** Owner ids that count until a time, on the scale of `distributed-lock.clock.ts`; later they are forgotten. */
export class OwnersUntil {
  readonly #until = new Map<string, number>();

  add(owner: string, until: number): void {
    this.#forgetOld();
    this.#until.set(owner, until);
  }

  delete(owner: string): void {
    this.#until.delete(owner);
  }

  has(owner: string): boolean {
    this.#forgetOld();
    return this.#until.has(owner);
  }

  #forgetOld(): void {
    if (this.#until.size === 0) return;
    const at = now();
    for (const [owner, until] of this.#until) if (until < at) this.#until.delete(owner);
  }
}
