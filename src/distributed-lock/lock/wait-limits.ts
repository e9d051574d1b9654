import { LockQueueFullError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';

/** The calls of this process that have a limit, at one key. */
interface Crowd {
  /** Have not been answered yet. */
  asking: number;
  holding: number;
}

/** A counted call: first it asks, then it may hold. */
export interface Place {
  /** It was granted. */
  holds(): Place;
  leave(): void;
}

/** Refuses calls that would make a queue longer than they allow. Only calls with a limit are counted: the others cost nothing. */
export class WaitLimits {
  readonly #crowds = new Map<LockKey, Crowd>();

  /** @throws {LockQueueFullError} if so many wait already, behind the call that has the key or asks for it next. */
  enter(key: LockKey, maxWaiters: number): Place {
    const crowd = this.#crowds.get(key) ?? { asking: 0, holding: 0 };
    const waiting = crowd.holding > 0 ? crowd.asking : crowd.asking - 1;
    if (waiting >= maxWaiters) throw new LockQueueFullError(key, maxWaiters);
    this.#crowds.set(key, crowd);
    crowd.asking += 1;
    let state: keyof Crowd = 'asking';
    const place: Place = {
      holds: () => {
        crowd[state] -= 1;
        crowd[(state = 'holding')] += 1;
        return place;
      },
      leave: () => {
        crowd[state] -= 1;
        if (crowd.asking + crowd.holding === 0) this.#crowds.delete(key);
      },
    };
    return place;
  }
}
