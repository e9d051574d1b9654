import { now } from '../distributed-lock.clock.js';
import { LockStoreUnavailableError, type LossReason } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type {
  AcquireRequest,
  Admission,
  KeyState,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from '../store/lock-store.js';
import { memoryStore } from '../store/memory/memory.lock-store.js';

/**
 * What a test makes happen to a key.
 *
 * - `busy`: another owner has it; the call is told so at once, as if its wait time had passed
 * - `lost`: it is granted, and the hold is lost before the method runs
 * - `unavailable`: the store does not answer
 */
export type Simulation = 'busy' | 'lost' | 'unavailable';

/** One attempt to get a key, in the order of the attempts. */
export interface RecordedCall {
  readonly key: string;
  readonly waitTimeMs: number;
  readonly leaseTimeMs: number;
  /** What it asked for beyond one holder at a time; `null` for an ordinary lock. */
  readonly admission: Admission | null;
  /** `waiting` until it has its answer; `refused`: the caller aborted, or the module closed. */
  readonly outcome: 'waiting' | 'held' | 'released' | 'busy' | 'unavailable' | 'refused';
}

/** A call that is still being written. */
type OpenCall = { -readonly [Field in keyof RecordedCall]: RecordedCall[Field] };

const EVERY_KEY = Symbol('every key');

/** A memory store that records what is asked of it, and can be told to misbehave. */
export class SimulatedLocks implements LockStore {
  readonly #memory = memoryStore();
  readonly #simulations = new Map<string | typeof EVERY_KEY, Simulation>();
  readonly #grants = new Map<
    LockGrant,
    { -readonly [Field in keyof RecordedCall]: RecordedCall[Field] }
  >();
  #calls: RecordedCall[] = [];

  get traits(): StoreTraits {
    return { ...this.#memory.traits, name: 'fake' };
  }

  get calls(): readonly RecordedCall[] {
    return this.#calls;
  }

  /** @param key default: every key that has no simulation of its own. */
  simulate(what: Simulation, key?: string): void {
    this.#simulations.set(key ?? EVERY_KEY, what);
  }

  reset(): void {
    this.#simulations.clear();
    this.#calls = [];
  }

  /** Ends the holds of a key without a release, as a store does that gave it to somebody else. */
  lose(key: string, reason: LossReason): void {
    for (const grant of this.#grants.keys()) if (grant.key === key) grant.onLost?.(reason);
  }

  open(namespace: string, timeoutMs: number): Promise<void> {
    return this.#memory.open(namespace, timeoutMs);
  }

  async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const { key, waitTimeMs, leaseTimeMs, admission = null } = request;
    const call: OpenCall = { key, waitTimeMs, leaseTimeMs, admission, outcome: 'waiting' };
    this.#calls.push(call);
    let simulation: Simulation | undefined;
    try {
      simulation = this.#simulationOf(key);
    } catch (error) {
      call.outcome = 'unavailable';
      throw error;
    }
    const grant = simulation === 'busy' ? null : await this.#acquire(request, call);
    call.outcome = grant ? 'held' : 'busy';
    if (!grant) return null;
    const given = simulation === 'lost' ? new LostGrant(grant) : grant;
    this.#grants.set(given, call);
    return given;
  }

  renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    return this.#memory.renew(renewals);
  }

  release(grant: LockGrant, keepForMs?: number): Promise<ReleaseResult> {
    this.#ended(grant);
    return this.#memory.release(inMemory(grant), keepForMs);
  }

  abandon(grant: LockGrant): void {
    this.#ended(grant);
    this.#memory.abandon(inMemory(grant));
  }

  /** A key that is simulated to be busy is held by another owner, who is nobody. */
  async stateOf(key: LockKey): Promise<KeyState> {
    const simulation = this.#simulationOf(key);
    if (simulation !== 'busy') return this.#memory.stateOf!(key);
    const owner = { owner: 'another owner', fencingToken: null, leaseLeftMs: null };
    return { holders: [{ ...owner, mode: 'exclusive' }], waiters: null, keptForMs: null };
  }

  /** Real holds end; a simulation stays. */
  async forceRelease(key: LockKey): Promise<number> {
    this.#simulationOf(key);
    return this.#memory.forceRelease!(key);
  }

  stop(): void {
    this.#memory.stop();
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  /** @throws {LockStoreUnavailableError} where that is what is simulated. */
  #simulationOf(key: LockKey): Simulation | undefined {
    const simulation = this.#simulations.get(key) ?? this.#simulations.get(EVERY_KEY);
    if (simulation === 'unavailable') throw new LockStoreUnavailableError('fake', key, 'simulated');
    return simulation;
  }

  async #acquire(request: AcquireRequest, call: OpenCall): Promise<LockGrant | null> {
    try {
      return await this.#memory.acquire(request);
    } catch (error) {
      call.outcome = 'refused';
      throw error;
    }
  }

  #ended(grant: LockGrant): void {
    const call = this.#grants.get(grant);
    if (call) call.outcome = 'released';
    this.#grants.delete(grant);
  }
}

/** A grant whose deadline has passed when it is given. */
class LostGrant implements LockGrant {
  readonly validUntil = now();
  onLost: ((reason: LossReason) => void) | null = null;

  constructor(readonly granted: LockGrant) {}

  get key(): LockKey {
    return this.granted.key;
  }

  get owner(): string {
    return this.granted.owner;
  }

  get fencingToken(): bigint | null {
    return this.granted.fencingToken;
  }
}

function inMemory(grant: LockGrant): LockGrant {
  return grant instanceof LostGrant ? grant.granted : grant;
}
