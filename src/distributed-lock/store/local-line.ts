import type { LockKey } from '../key/lock-key.js';
import type { LinePlace } from './line-backend.js';

/** Somebody of this process who waits for a lock: the turn of a key, whoever will have it, or one caller that wants to share. */
export interface Waiting {
  readonly key: LockKey;
  /** `null` for a turn. */
  readonly place: LinePlace | null;
}

/** Who waits for each lock in this process, in order of arrival. The server knows only that some of this process do. */
export class LocalLine {
  readonly #lines = new Map<string, Map<string, Waiting>>();

  /** @returns whether it has come to the end of the line; `false` if it stood there already. */
  join(lock: string, waiting: Waiting): boolean {
    let line = this.#lines.get(lock);
    if (!line) this.#lines.set(lock, (line = new Map()));
    const id = idOf(waiting);
    if (line.has(id)) return false;
    line.set(id, waiting);
    return true;
  }

  /** @returns whether it stood there. */
  leave(lock: string, waiting: Waiting): boolean {
    const line = this.#lines.get(lock);
    const stood = line?.delete(idOf(waiting)) ?? false;
    if (line?.size === 0) this.#lines.delete(lock);
    return stood;
  }

  /** Leaves its place to those behind it. */
  joinAnew(lock: string, waiting: Waiting): void {
    this.leave(lock, waiting);
    this.join(lock, waiting);
  }

  isEmpty(lock: string): boolean {
    return !this.#lines.has(lock);
  }

  /** Keys whose turns wait. */
  turns(lock: string): readonly LockKey[] {
    return this.#all(lock).flatMap(({ key, place }) => (place ? [] : [key]));
  }

  /** Callers that want to share. */
  sharers(lock: string): readonly LinePlace[] {
    return this.#all(lock).flatMap(({ place }) => place ?? []);
  }

  /** Those of them that no turn is ahead of. */
  firstSharers(lock: string): readonly LinePlace[] {
    const all = this.#all(lock);
    const turn = all.findIndex(({ place }) => place === null);
    return (turn < 0 ? all : all.slice(0, turn)).flatMap(({ place }) => place ?? []);
  }

  /** Whether somebody of the other kind came before. */
  isBehindOthers(lock: string, waiting: Waiting): boolean {
    const isTurn = waiting.place === null;
    const id = idOf(waiting);
    for (const [other, { place }] of this.#lines.get(lock) ?? []) {
      if (other === id) return false;
      if ((place === null) !== isTurn) return true;
    }
    return false;
  }

  #all(lock: string): readonly Waiting[] {
    return [...(this.#lines.get(lock)?.values() ?? [])];
  }
}

function idOf({ key, place }: Waiting): string {
  return place ? `share ${place.owner}` : `turn ${key}`;
}
