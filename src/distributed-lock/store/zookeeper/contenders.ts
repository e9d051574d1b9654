import type { LockKey } from '../../key/lock-key.js';
import type { Contender } from './contender.js';

/** The calls of this process that want a key now. */
export class Contenders {
  readonly #byKey = new Map<LockKey, Set<Contender>>();

  add(contender: Contender): void {
    const { key } = contender.request;
    const contenders = this.#byKey.get(key);
    if (contenders) contenders.add(contender);
    else this.#byKey.set(key, new Set([contender]));
  }

  remove(contender: Contender): void {
    const { key } = contender.request;
    const contenders = this.#byKey.get(key);
    contenders?.delete(contender);
    if (contenders?.size === 0) this.#byKey.delete(key);
  }

  /** Whether one of them has a place in the queue of the key and is in the way of a call that comes now. */
  isInTheWay(key: LockKey, isShared: boolean): boolean {
    for (const contender of this.#byKey.get(key) ?? []) {
      if (contender.isQueued && !(isShared && contender.isShared)) return true;
    }
    return false;
  }

  /** Those of this moment: they leave while the list is walked. */
  all(): readonly Contender[] {
    return [...this.#byKey.values()].flatMap((contenders) => [...contenders]);
  }
}
