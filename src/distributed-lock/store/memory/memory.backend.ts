import type { LockKey } from '../../key/lock-key.js';
import type { KeyState, StoreTraits } from '../lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';
import { endHolds, stateOf } from './memory.operator.js';
import type { MemoryWorld, Waiting } from './memory.world.js';

/** The turns of one store. */
export class MemoryBackend implements TurnBackend {
  readonly traits: StoreTraits = {
    name: 'memory',
    ownership: 'lease',
    fencing: 'store-wide',
    fair: 'fifo',
    wakes: 'push',
    reach: 'process',
    offers: ['shared', 'permits', 'fair'],
    keeps: 'server',
    showsHolders: 'owner-and-token',
    forceRelease: 'hold',
  };
  /** This store's place in the queue of each key. */
  readonly #places = new Map<LockKey, Waiting>();
  #listener: BackendListener | null = null;

  constructor(private readonly world: MemoryWorld) {
    // Arrives as a message would: after the command that caused it has been answered.
    world.whenEvicted.add((turn) => queueMicrotask(() => this.#listener?.evicted(turn)));
  }

  async open(_namespace: string, _timeoutMs: number, listener: BackendListener): Promise<void> {
    this.#listener = listener;
  }

  async take({ key, owner, leaseTimeMs, wait, more }: TakeRequest): Promise<Granted | Busy> {
    const entry = this.world.live(key);
    if (entry && entry.owner !== owner && entry.reservedFor !== this.#places.get(key)) {
      if (wait) this.#queue(key);
      return {
        granted: false,
        retryInMs: entry.expiresAtMs - performance.now() + 1,
        since: null,
        holder: entry.owner,
      };
    }
    if (more) this.#queue(key);
    else this.#unqueue(key);
    return { granted: true, tokens: this.world.hold(key, owner, leaseTimeMs) };
  }

  async pass({ key, owner, leaseTimeMs }: HeldTurn): Promise<PassAnswer> {
    const entry = this.world.live(key);
    if (entry?.owner !== owner) return { outcome: 'lost' };
    this.#unqueue(key);
    if (!this.world.first(key)) {
      const left = entry.expiresAtMs - performance.now();
      return {
        outcome: 'continues',
        tokens: this.world.hold(key, owner, Math.max(leaseTimeMs, left)),
      };
    }
    this.world.free(key);
    this.world.admit(key, false);
    this.#queue(key);
    return { outcome: 'passed', retryInMs: leaseTimeMs, since: null };
  }

  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    return turns.map(({ key, owner, leaseTimeMs }) => {
      const entry = this.world.live(key);
      if (entry?.owner !== owner) return false;
      entry.expiresAtMs = Math.max(entry.expiresAtMs, performance.now() + leaseTimeMs);
      return true;
    });
  }

  async giveBack({ key, owner }: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    const entry = this.world.live(key);
    const held = entry !== undefined && owner !== '' && entry.owner === owner;
    const reserved = entry !== undefined && entry.reservedFor === this.#places.get(key);
    if (!more) this.#unqueue(key);
    // Somebody else's; or kept for this store, and its next caller is about to use it.
    const stays = entry && !held && (!reserved || more);
    if (!stays) this.world.free(key);
    if (more && !stays) this.#queue(key);
    // Also where the key stays whose it is: those behind a store that has left may be compatible with the holders.
    return { held, woke: this.world.admit(key, false) };
  }

  async keep({ key, owner }: TurnRef, keepForMs: number): Promise<boolean> {
    if (this.world.live(key)?.owner !== owner) return false;
    this.world.keep(key, keepForMs);
    return true;
  }

  async stateOf(key: LockKey): Promise<KeyState> {
    return stateOf(this.world, key, this.#places.get(key));
  }

  async forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    return endHolds(this.world, key);
  }

  async close(): Promise<void> {
    this.#listener = null;
    for (const [key] of this.#places) this.#unqueue(key);
  }

  #queue(key: LockKey): void {
    let place = this.#places.get(key);
    if (!place) {
      // Arrives as a message would: after the command that caused it has been answered.
      const call = (): void => queueMicrotask(() => this.#listener?.woken(key));
      this.#places.set(key, (place = { place: null, leaseTimeMs: 0, call }));
    }
    this.world.queue(key, place);
  }

  #unqueue(key: LockKey): void {
    const place = this.#places.get(key);
    if (!place) return;
    this.world.unqueue(key, place);
    this.#places.delete(key);
  }
}
