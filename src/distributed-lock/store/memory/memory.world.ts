import type { LockKey } from '../../key/lock-key.js';
import type { LinePlace } from '../line-backend.js';
import type { Admission } from '../lock-store.js';
import type { TokenBlock, TurnRef } from '../turn-backend.js';

/** Who stands before a key: a process that wants a turn, or one caller in the line. */
export interface Waiting {
  /** Of a caller in the line. */
  readonly place: LinePlace | null;
  readonly leaseTimeMs: number;
  /** The process may try; the caller was let in. */
  call(): void;
}

/** Who has a key. */
export interface Entry {
  /** Of a turn, or of an exclusive holder; `''` of the others. */
  readonly owner: string;
  /** First token of an exclusive holder. */
  readonly token: bigint | null;
  /** Shared or permit holders, each with the end of its lease. */
  readonly together: {
    readonly mode: Admission['mode'];
    readonly until: Map<string, number>;
  } | null;
  /** Free for this process alone. */
  readonly reservedFor: Waiting | null;
  expiresAtMs: number;
}

const TOKENS_PER_TURN = 1_000;
/** How long a key is kept for a process that was woken. */
const CLAIM_MS = 200;

/** The locks of one process. Several memory stores made on the same world exclude each other. */
export class MemoryWorld {
  readonly #entries = new Map<LockKey, Entry>();
  /** Who waits for a key, longest first. */
  readonly #waiting = new Map<LockKey, Set<Waiting>>();
  #lastToken = 0n;
  /** Those who want to know which holds were ended by force. */
  readonly whenEvicted = new Set<(hold: TurnRef) => void>();

  /** Whoever has the key; leases that are over do not count. */
  live(key: LockKey): Entry | undefined {
    const entry = this.#entries.get(key);
    const at = performance.now();
    for (const [owner, until] of entry?.together?.until ?? [])
      if (until <= at) entry!.together!.until.delete(owner);
    if (entry && entry.expiresAtMs > at && entry.together?.until.size !== 0) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  /** Starts a turn. */
  hold(key: LockKey, owner: string, leaseTimeMs: number): TokenBlock {
    const tokens = this.#tokens();
    const expiresAtMs = performance.now() + leaseTimeMs;
    const token = tokens.first;
    this.#entries.set(key, { owner, token, together: null, reservedFor: null, expiresAtMs });
    return tokens;
  }

  free(key: LockKey): void {
    this.#entries.delete(key);
  }

  /** Closes the key, though nobody has it; then it goes to whoever waits. */
  keep(key: LockKey, forMs: number): void {
    const expiresAtMs = performance.now() + forMs;
    const nobody = { owner: '', token: null, together: null, reservedFor: null };
    this.#entries.set(key, { ...nobody, expiresAtMs });
    setTimeout(() => this.admit(key, true), forMs + 1).unref();
  }

  queue(key: LockKey, waiting: Waiting): void {
    let queue = this.#waiting.get(key);
    if (!queue) this.#waiting.set(key, (queue = new Set()));
    queue.add(waiting);
  }

  unqueue(key: LockKey, waiting: Waiting): void {
    const queue = this.#waiting.get(key);
    queue?.delete(waiting);
    if (queue?.size === 0) this.#waiting.delete(key);
  }

  unqueueEverywhere(waiting: Waiting): void {
    for (const key of this.#waiting.keys()) this.unqueue(key, waiting);
  }

  first(key: LockKey): Waiting | undefined {
    const [first] = this.#waiting.get(key) ?? [];
    return first;
  }

  /** Longest first. */
  waitingFor(key: LockKey): readonly Waiting[] {
    return [...(this.#waiting.get(key) ?? [])];
  }

  /**
   * Lets in those at the head who are compatible with whoever is inside: a process that wants a turn is woken, callers of the line
   * hold the key at once.
   *
   * @param keeps a process that is woken finds the key reserved: nobody of the line overtakes it.
   * @returns whether anybody was called.
   */
  admit(key: LockKey, keeps: boolean): boolean {
    let called = false;
    for (let head = this.first(key); head; head = this.first(key)) {
      if (head.place ? !this.mayEnter(head.place) : this.live(key)) break;
      this.unqueue(key, head);
      if (head.place) this.letIn(head.place, head.leaseTimeMs);
      else if (keeps) this.#reserve(key, head);
      head.call();
      called = true;
      if (!head.place) break;
    }
    return called;
  }

  /** Whether those inside tolerate it. */
  mayEnter({ key, admission }: LinePlace): boolean {
    const entry = this.live(key);
    if (!entry) return true;
    if (entry.together?.mode !== admission.mode) return false;
    return admission.mode === 'shared' || entry.together.until.size < admission.permits!;
  }

  /** Whether it is inside. */
  has({ key, owner, admission }: LinePlace): boolean {
    const entry = this.live(key);
    if (admission.mode === 'exclusive') return entry?.owner === owner;
    return entry?.together?.mode === admission.mode && entry.together.until.has(owner);
  }

  /** The token of an exclusive holder. */
  tokenOf({ key, admission }: LinePlace): bigint | null {
    return admission.mode === 'exclusive' ? (this.live(key)?.token ?? null) : null;
  }

  letIn({ key, owner, admission: { mode } }: LinePlace, leaseTimeMs: number): void {
    if (mode === 'exclusive') return void this.hold(key, owner, leaseTimeMs);
    const expiresAtMs = performance.now() + leaseTimeMs;
    let entry = this.live(key);
    if (!entry) {
      const together = { mode, until: new Map<string, number>() };
      entry = { owner: '', token: null, together, reservedFor: null, expiresAtMs };
      this.#entries.set(key, entry);
    }
    entry.together!.until.set(owner, expiresAtMs);
    entry.expiresAtMs = Math.max(entry.expiresAtMs, expiresAtMs);
  }

  /** Never shortens. */
  prolong({ key, owner, admission }: LinePlace, leaseTimeMs: number): void {
    const entry = this.live(key)!;
    const expiresAtMs = performance.now() + leaseTimeMs;
    entry.expiresAtMs = Math.max(entry.expiresAtMs, expiresAtMs);
    if (admission.mode === 'exclusive') return;
    const { until } = entry.together!;
    until.set(owner, Math.max(until.get(owner)!, expiresAtMs));
  }

  /** @returns whether it was inside. */
  putOut(place: LinePlace): boolean {
    if (!this.has(place)) return false;
    const { together } = this.live(place.key)!;
    together?.until.delete(place.owner);
    if (!together || together.until.size === 0) this.free(place.key);
    return true;
  }

  /** When the first lease ends, in milliseconds from now. */
  nextEndMs(key: LockKey): number {
    const entry = this.live(key);
    const ends = [...(entry?.together?.until.values() ?? [entry?.expiresAtMs ?? 0])];
    return Math.max(Math.min(...ends) - performance.now(), 0);
  }

  #reserve(key: LockKey, reservedFor: Waiting): void {
    const expiresAtMs = performance.now() + CLAIM_MS;
    this.#entries.set(key, { owner: '', token: null, together: null, reservedFor, expiresAtMs });
  }

  /** Fencing tokens grow over all keys, and over worlds as long as the wall clock does not go back. */
  #tokens(): TokenBlock {
    const clock = BigInt(Date.now()) * 1_000_000n;
    const first = clock > this.#lastToken ? clock : this.#lastToken + 1n;
    this.#lastToken = first + BigInt(TOKENS_PER_TURN);
    return { first, size: TOKENS_PER_TURN };
  }
}
