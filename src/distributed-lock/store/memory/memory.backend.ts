import type { LockKey } from '../../key/lock-key.js';
import type { StoreTraits } from '../lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';

interface Entry {
  owner: string;
  expiresAtMs: number;
}

const TOKENS_PER_TURN = 1_000;

/** The locks of one process. Several memory stores made on the same world exclude each other. */
export class MemoryWorld {
  readonly entries = new Map<LockKey, Entry>();
  /** Stores that wait for a key, longest first. */
  readonly waiting = new Map<LockKey, Set<MemoryBackend>>();
  #lastToken = 0n;

  /** Fencing tokens grow over all keys, and over worlds as long as the wall clock does not go back. */
  tokens(): TokenBlock {
    const clock = BigInt(Date.now()) * 1_000_000n;
    const first = clock > this.#lastToken ? clock : this.#lastToken + 1n;
    this.#lastToken = first + BigInt(TOKENS_PER_TURN);
    return { first, size: TOKENS_PER_TURN };
  }

  live(key: LockKey): Entry | undefined {
    const entry = this.entries.get(key);
    if (entry && entry.expiresAtMs > performance.now()) return entry;
    this.entries.delete(key);
    return undefined;
  }

  hold(key: LockKey, owner: string, leaseTimeMs: number): TokenBlock {
    this.entries.set(key, { owner, expiresAtMs: performance.now() + leaseTimeMs });
    return this.tokens();
  }

  queue(key: LockKey, backend: MemoryBackend): void {
    let waiting = this.waiting.get(key);
    if (!waiting) this.waiting.set(key, (waiting = new Set()));
    waiting.add(backend);
  }

  unqueue(key: LockKey, backend: MemoryBackend): void {
    const waiting = this.waiting.get(key);
    waiting?.delete(backend);
    if (waiting?.size === 0) this.waiting.delete(key);
  }

  /** Wakes the store that has waited longest. */
  wake(key: LockKey): boolean {
    const [first] = this.waiting.get(key) ?? [];
    if (!first) return false;
    this.unqueue(key, first);
    first.deliver(key);
    return true;
  }
}

export class MemoryBackend implements TurnBackend {
  readonly traits: StoreTraits = {
    name: 'memory',
    ownership: 'lease',
    fencing: 'store-wide',
    fair: 'fifo',
    wakes: 'push',
    reach: 'process',
    offers: [],
    keeps: 'process',
  };
  #listener: BackendListener | null = null;

  constructor(private readonly world: MemoryWorld) {}

  async open(_namespace: string, _timeoutMs: number, listener: BackendListener): Promise<void> {
    this.#listener = listener;
  }

  async take({ key, owner, leaseTimeMs, wait, more }: TakeRequest): Promise<Granted | Busy> {
    const entry = this.world.live(key);
    if (entry && entry.owner !== owner) {
      if (wait) this.world.queue(key, this);
      return {
        granted: false,
        retryInMs: entry.expiresAtMs - performance.now() + 1,
        since: null,
        holder: entry.owner,
      };
    }
    if (more) this.world.queue(key, this);
    else this.world.unqueue(key, this);
    return { granted: true, tokens: this.world.hold(key, owner, leaseTimeMs) };
  }

  async pass({ key, owner, leaseTimeMs }: HeldTurn): Promise<PassAnswer> {
    const entry = this.world.live(key);
    if (entry?.owner !== owner) return { outcome: 'lost' };
    this.world.unqueue(key, this);
    if (!this.world.wake(key)) {
      const left = entry.expiresAtMs - performance.now();
      return {
        outcome: 'continues',
        tokens: this.world.hold(key, owner, Math.max(leaseTimeMs, left)),
      };
    }
    this.world.entries.delete(key);
    this.world.queue(key, this);
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
    const held = entry !== undefined && entry.owner === owner;
    if (!more) this.world.unqueue(key, this);
    if (entry && !held) return { held, woke: false };
    this.world.entries.delete(key);
    if (more) this.world.queue(key, this);
    return { held, woke: this.world.wake(key) };
  }

  /** A wake-up arrives as a message would: after the command that caused it has been answered. */
  deliver(key: LockKey): void {
    queueMicrotask(() => this.#listener?.woken(key));
  }

  async close(): Promise<void> {
    this.#listener = null;
    for (const [key] of this.world.waiting) this.world.unqueue(key, this);
  }
}
