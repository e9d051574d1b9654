import type { LockKey } from '../key/lock-key.js';
import type { LinePlace } from './line-backend.js';
import { LocalLine } from './local-line.js';
import type { LockId, SessionLink } from './session-link.js';
import type { TurnRef } from './turn-backend.js';

/**
 * What a session has at the server beside the locks themselves.
 *
 * - `wait`: some of this process wait
 * - `share`: some of them want to share
 * - `gate`: a turn waits, and keeps out those who come to share
 */
export type SessionMark = 'wait' | 'share' | 'gate';

/** What one session has at the server, and who waits for what in this process. */
export class SessionHolds {
  readonly line = new LocalLine();
  readonly #held = new Map<string, TurnRef>();
  /** By lock, the owners that share it; the session itself has it once. */
  readonly #shared = new Map<string, Map<string, LockKey>>();
  readonly #marks = new Map<string, Set<SessionMark>>();

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

  /** How many share the lock. */
  sharing(id: LockId): number {
    return this.#shared.get(id.lock)?.size ?? 0;
  }

  /** Those who share the lock. */
  sharersOf(id: LockId): readonly TurnRef[] {
    return [...(this.#shared.get(id.lock) ?? [])].map(([owner, key]) => ({ key, owner }));
  }

  isSharedBy({ key, owner }: LinePlace): boolean {
    return this.#shared.get(this.idOf(key).lock)?.has(owner) ?? false;
  }

  share(id: LockId, { key, owner }: LinePlace): void {
    const sharers = this.#shared.get(id.lock);
    if (sharers) sharers.set(owner, key);
    else this.#shared.set(id.lock, new Map([[owner, key]]));
  }

  unshare(id: LockId, { owner }: LinePlace): void {
    const sharers = this.#shared.get(id.lock);
    sharers?.delete(owner);
    if (sharers?.size === 0) this.#shared.delete(id.lock);
  }

  isMarked(id: LockId, mark: SessionMark): boolean {
    return this.#marks.get(id.lock)?.has(mark) ?? false;
  }

  mark(id: LockId, mark: SessionMark, stands: boolean): void {
    const marks = this.#marks.get(id.lock) ?? new Set();
    if (stands) this.#marks.set(id.lock, marks.add(mark));
    else if (marks.delete(mark) && marks.size === 0) this.#marks.delete(id.lock);
  }
}
