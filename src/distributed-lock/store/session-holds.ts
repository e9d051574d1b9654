import type { LockKey } from '../key/lock-key.js';
import type { LockId, SessionLink } from './session-link.js';
import type { TurnRef } from './turn-backend.js';

/** What one session has at the server: locks, marks that it waits, and for which keys. */
export class SessionHolds {
  readonly #held = new Map<string, TurnRef>();
  readonly #marked = new Set<string>();
  readonly #waiting = new Map<string, Set<LockKey>>();

  constructor(private readonly link: SessionLink) {}

  idOf(key: LockKey): LockId {
    return this.link.idOf(key);
  }

  holderOf(id: LockId): TurnRef | undefined {
    return this.#held.get(id.lock);
  }

  isHeldBy({ key, owner }: TurnRef): boolean {
    const holder = this.holderOf(this.idOf(key));
    return holder?.key === key && holder.owner === owner;
  }

  hold(id: LockId, turn: TurnRef): void {
    this.#held.set(id.lock, turn);
  }

  free(id: LockId): void {
    this.#held.delete(id.lock);
  }

  isMarked(id: LockId): boolean {
    return this.#marked.has(id.lock);
  }

  mark(id: LockId, stands: boolean): void {
    if (stands) this.#marked.add(id.lock);
    else this.#marked.delete(id.lock);
  }

  waits(id: LockId, key: LockKey): void {
    let keys = this.#waiting.get(id.lock);
    if (!keys) this.#waiting.set(id.lock, (keys = new Set()));
    keys.add(key);
  }

  /** @returns whether no other key waits for the same lock. */
  waitsNoMore(id: LockId, key: LockKey): boolean {
    const keys = this.#waiting.get(id.lock);
    keys?.delete(key);
    if (keys?.size === 0) this.#waiting.delete(id.lock);
    return !this.#waiting.has(id.lock);
  }

  waitingFor(lock: string): readonly LockKey[] {
    return [...(this.#waiting.get(lock) ?? [])];
  }
}
