import { TransientMap } from '../distributed-lock.transient-map.js';
import type { LockKey } from '../key/lock-key.js';
import type { LinePlace } from './line-backend.js';
import type { LineCaller } from './line-caller.js';

/** The callers of this process that stand in lines, by key and in order of arrival. */
export class LineCallers {
  readonly #byKey = new TransientMap<LockKey, Set<LineCaller>>();

  *all(): Generator<LineCaller> {
    for (const callers of this.#byKey.values()) yield* callers;
  }

  of(key: LockKey): Iterable<LineCaller> {
    return this.#byKey.get(key) ?? [];
  }

  /** The first of those who stand in the line at the backend. */
  firstQueued(key: LockKey): LineCaller | null {
    for (const caller of this.of(key)) if (caller.isQueued) return caller;
    return null;
  }

  /** Whoever is behind the place and has not been answered yet. */
  at({ key, owner }: LinePlace): LineCaller | null {
    for (const caller of this.of(key))
      if (caller.place.owner === owner && !caller.isOver) return caller;
    return null;
  }

  add(caller: LineCaller): void {
    const { key } = caller.request;
    const callers = this.#byKey.get(key);
    if (callers) callers.add(caller);
    else this.#byKey.set(key, new Set([caller]));
  }

  remove(caller: LineCaller): void {
    const { key } = caller.request;
    const callers = this.#byKey.get(key);
    callers?.delete(caller);
    if (callers?.size === 0) this.#byKey.delete(key);
  }
}
