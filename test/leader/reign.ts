import type { LeaderCallbacks, LossReason } from 'nestjs-distributed-lock';

/** Watches who leads: each leader is in from its election until its `onDeposed` has ended, so that an overlap shows. */
export class Reign {
  /** Most leaders at a time. */
  highest = 0;
  readonly elected: string[] = [];
  readonly deposed: string[] = [];
  readonly #leading = new Set<string>();

  get leader(): string | undefined {
    const [first] = this.#leading;
    return first;
  }

  candidate(name: string): LeaderCallbacks {
    return {
      onElected: () => {
        this.#leading.add(name);
        this.highest = Math.max(this.highest, this.#leading.size);
        this.elected.push(name);
      },
      onDeposed: async (reason: LossReason) => {
        this.deposed.push(`${name} ${reason}`);
        for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
        this.#leading.delete(name);
      },
    };
  }
}
