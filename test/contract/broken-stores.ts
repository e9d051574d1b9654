import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type {
  AcquireRequest,
  KeyState,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
} from '../../src/distributed-lock/store/lock-store.js';

/** What the stores of one world share; a broken one may look across. */
export class Shared {
  readonly holders = new Map<LockKey, { readonly store: LockStore; readonly grant: LockGrant }>();
  /** Of a store that lets all shared callers join one hold. */
  readonly readers = new Map<LockKey, { grant: LockGrant; store: LockStore; count: number }>();
  lastToken = 0n;
  /** Set when the check is over: calls that are left then never settle, so that nobody is told twice. */
  over = false;
  readonly whenOver: (() => void)[] = [];

  readonly #stores: LockStore[] = [];

  /** Which one of the world it is. */
  numberOf(store: LockStore): number {
    if (!this.#stores.includes(store)) this.#stores.push(store);
    return this.#stores.indexOf(store);
  }

  end(): void {
    this.over = true;
    for (const run of this.whenOver) run();
  }
}

/** A store that works; each of the others breaks one promise. */
export class HealthyStore implements LockStore {
  constructor(
    protected readonly inner: LockStore,
    protected readonly shared: Shared,
  ) {}

  get traits(): LockStore['traits'] {
    return this.inner.traits;
  }

  open(namespace: string, timeoutMs: number): Promise<void> {
    return this.inner.open(namespace, timeoutMs);
  }

  async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const grant = await this.whileChecked(this.inner.acquire(request));
    if (grant) this.shared.holders.set(grant.key, { store: this.inner, grant });
    return grant;
  }

  renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    return this.inner.renew(renewals);
  }

  release(grant: LockGrant, keepForMs?: number): Promise<ReleaseResult> {
    return this.inner.release(grant, keepForMs);
  }

  abandon(grant: LockGrant): void {
    this.inner.abandon(grant);
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return this.inner.stateOf!(key);
  }

  forceRelease(key: LockKey): Promise<number> {
    return this.inner.forceRelease!(key);
  }

  stop(): void {
    this.inner.stop();
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  protected whileChecked<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      promise.then(
        (value) => this.shared.over || resolve(value),
        (error: unknown) => this.shared.over || reject(error as Error),
      );
    });
  }
}

const copy = (grant: LockGrant, fencingToken: bigint): LockGrant =>
  Object.create(grant, { fencingToken: { value: fencingToken } }) as LockGrant;

export class GrantsEverybody extends HealthyStore {
  override async acquire({ key }: AcquireRequest): Promise<LockGrant> {
    const fencingToken = (this.shared.lastToken += 1n);
    return { key, owner: String(fencingToken), fencingToken, validUntil: Infinity, onLost: null };
  }

  override async release(): Promise<ReleaseResult> {
    return 'released';
  }
}

/** Deletes the key without a look at the owner. */
export class ReleasesForAnybody extends HealthyStore {
  override async release(grant: LockGrant): Promise<ReleaseResult> {
    const result = await this.inner.release(grant);
    const current = this.shared.holders.get(grant.key);
    if (result === 'not-held' && current) await current.store.release(current.grant);
    return result;
  }
}

/** Takes a release for a release. */
export class KeepsNothing extends HealthyStore {
  override release(grant: LockGrant): Promise<ReleaseResult> {
    return this.inner.release(grant);
  }
}

/** Keeps a key closed until its lease is over. */
export class KeepsForTheLease extends HealthyStore {
  override async release(grant: LockGrant, keepForMs = 0): Promise<ReleaseResult> {
    if (keepForMs === 0) return this.inner.release(grant);
    this.inner.abandon(grant);
    return 'released';
  }
}

/** Says that the server keeps keys closed, and does it itself. */
export class KeepsWhileItLives extends HealthyStore {
  override async release(grant: LockGrant, keepForMs = 0): Promise<ReleaseResult> {
    if (keepForMs === 0) return this.inner.release(grant);
    setTimeout(() => void this.inner.release(grant), keepForMs);
    return 'released';
  }
}

/** A second release answers as the first did. */
export class ReleasesTwice extends HealthyStore {
  override async release(grant: LockGrant): Promise<ReleaseResult> {
    await this.inner.release(grant);
    return 'released';
  }
}

export abstract class AltersTokens extends HealthyStore {
  abstract token(): bigint;

  readonly #originals = new WeakMap<LockGrant, LockGrant>();

  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const grant = await super.acquire(request);
    if (!grant) return null;
    const altered = copy(grant, this.token());
    this.#originals.set(altered, grant);
    return altered;
  }

  override release(grant: LockGrant): Promise<ReleaseResult> {
    return super.release(this.#originals.get(grant) ?? grant);
  }
}

export class RepeatsTokens extends AltersTokens {
  token(): bigint {
    return 7n;
  }
}

export class LowersTokens extends AltersTokens {
  token(): bigint {
    return 1_000_000n - (this.shared.lastToken += 1n);
  }
}

/** Who has the key gets it again. */
export class IsReentrant extends HealthyStore {
  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const current = this.shared.holders.get(request.key);
    const grant = await super.acquire(request);
    return grant ?? (current?.store === this.inner ? current.grant : null);
  }
}

export class NeverWaits extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, waitTimeMs: 0 });
  }
}

/** Its caller gives up, its place in the queue does not. */
export class KeepsPlaces extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (request.waitTimeMs === 0) return super.acquire(request);
    const late = super.acquire({ ...request, waitTimeMs: 60_000 });
    return Promise.race([late, pause(request.waitTimeMs, null, { ref: false })]);
  }
}

/** Calls stand in a line, and an aborted one does not step aside. */
export class LosesWhoIsBehind extends HealthyStore {
  readonly #last = new Map<LockKey, Promise<unknown>>();

  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const before = this.#last.get(request.key);
    const mine = super.acquire(request);
    this.#last.set(request.key, mine);
    const stuck = new Promise<never>(() => undefined);
    await before?.catch(() => stuck);
    return mine;
  }
}

/** Two keys become one. */
export abstract class AltersKeys extends HealthyStore {
  abstract key(key: string): string;

  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, key: this.key(request.key) as LockKey });
  }
}

export class FoldsCase extends AltersKeys {
  key(key: string): string {
    return key.toLowerCase();
  }
}

export class TrimsKeys extends AltersKeys {
  key(key: string): string {
    return key.trim();
  }
}

/** One line for all keys. */
export class WaitsOneByOne extends HealthyStore {
  #line: Promise<unknown> = Promise.resolve();

  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const mine = this.#line.then(() => super.acquire(request));
    this.#line = mine.catch(() => undefined);
    return mine;
  }
}

/** A pool of connections, one per waiting key. */
export class HasFiftyPlaces extends HealthyStore {
  #free = 50;

  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (this.#free === 0) return null;
    this.#free -= 1;
    try {
      return await super.acquire(request);
    } finally {
      this.#free += 1;
    }
  }
}

/** Sets the lease to what was asked, whatever it was before. */
export class Shortens extends HealthyStore {
  override async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    const answers = await super.renew(renewals);
    for (const { grant, leaseTimeMs } of renewals) {
      void pause(leaseTimeMs, null, { ref: false }).then(() => this.inner.release(grant));
    }
    return answers;
  }
}

export class RenewsNothing extends HealthyStore {
  override async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    return renewals.map(() => true);
  }
}

/** Sets the key again if it is gone. */
export class Revives extends HealthyStore {
  override async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    const answers: boolean[] = [];
    for (const { grant, leaseTimeMs } of renewals) {
      if (grant.validUntil > now())
        answers.push(...(await this.inner.renew([{ grant, leaseTimeMs }])));
      else answers.push((await this.#again(grant, leaseTimeMs)) !== null);
    }
    return answers;
  }

  async #again(grant: LockGrant, leaseTimeMs: number): Promise<LockGrant | null> {
    await this.inner.release(grant);
    return this.inner.acquire({ key: grant.key, leaseTimeMs, waitTimeMs: 0 });
  }
}

/** The evicted holder goes on believing in its grant. */
export class NeverEndsLeases extends HealthyStore {
  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const grant = await super.acquire(request);
    return grant && (Object.create(grant, { validUntil: { value: Infinity } }) as LockGrant);
  }
}

export class ReleasesWhatIsAbandoned extends HealthyStore {
  override abandon(grant: LockGrant): void {
    void this.inner.release(grant);
  }
}

/** Nobody is turned away, until the check is over. */
export class LeavesWaitersPending extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const overtime = new Promise<null>((_resolve, reject) => {
      this.shared.whenOver.push(() => reject(new Error('the check is over')));
    });
    overtime.catch(() => undefined); // whoever still waits is told by the race below
    return Promise.race([super.acquire(request), overtime]);
  }

  override stop(): void {
    // They go on waiting.
  }
}

export class StaysClosed extends HealthyStore {
  #closed = false;

  override async open(namespace: string, timeoutMs: number): Promise<void> {
    if (!this.#closed) await super.open(namespace, timeoutMs);
  }

  override async close(): Promise<void> {
    this.#closed = true;
    await super.close();
  }
}

export class ClosesSilently extends HealthyStore {
  override async close(): Promise<void> {
    for (const { grant } of this.shared.holders.values()) grant.onLost = null;
    await super.close();
  }
}

/** The last to come is the first to be served. */
export class ServesTheLastFirst extends HealthyStore {
  readonly #stack: { request: AcquireRequest; serve: (grant: LockGrant | null) => void }[] = [];

  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const grant = await super.acquire({ ...request, waitTimeMs: 0 });
    if (grant || request.waitTimeMs === 0) return grant;
    return new Promise((serve) => this.#stack.push({ request, serve }));
  }

  override async release(grant: LockGrant): Promise<ReleaseResult> {
    const result = await super.release(grant);
    const next = this.#stack.pop();
    if (next) next.serve(await super.acquire(next.request));
    return result;
  }
}

/** Takes no notice of who may be inside together. */
export class SharesNothing extends HealthyStore {
  override acquire({ admission: _ignored, ...request }: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire(request);
  }
}

/** Whoever comes is one of many. */
export class SharesEverything extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, admission: { mode: 'shared', fair: false } });
  }
}

/** One shared hold of the inner store for all readers: whoever comes joins it, whoever waits. */
export class LetsReadersOvertake extends HealthyStore {
  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (request.admission?.mode !== 'shared') return super.acquire(request);
    const { readers } = this.shared;
    let hold = readers.get(request.key);
    if (!hold) {
      const grant = await super.acquire(request);
      if (!grant) return null;
      readers.set(request.key, (hold = { grant, store: this.inner, count: 0 }));
    }
    hold.count += 1;
    return Object.create(hold.grant) as LockGrant;
  }

  override async release(grant: LockGrant): Promise<ReleaseResult> {
    const hold = this.shared.readers.get(grant.key);
    if (hold?.grant.owner !== grant.owner) return super.release(grant);
    hold.count -= 1;
    if (hold.count > 0) return 'released';
    this.shared.readers.delete(grant.key);
    return hold.store.release(hold.grant);
  }
}

/** Counts the permits of each store by themselves. */
export class CountsPermitsPerStore extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (request.admission?.mode !== 'permit') return super.acquire(request);
    const mine = this.shared.numberOf(this);
    return super.acquire({ ...request, key: `${request.key}:${mine}` as LockKey });
  }
}

export class HasOnePermitMore extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const { admission } = request;
    if (admission?.mode !== 'permit') return super.acquire(request);
    return super.acquire({
      ...request,
      admission: { ...admission, permits: admission.permits! + 1 },
    });
  }
}

/** Its permits have no leases. */
export class KeepsPermits extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return super.acquire({ ...request, leaseTimeMs: 60_000 });
  }
}

/** One queue for those who ask for an admission, another one for the rest. */
export class KeepsLineAndTurnsApart extends HealthyStore {
  override acquire(request: AcquireRequest): Promise<LockGrant | null> {
    if (!request.admission) return super.acquire(request);
    return super.acquire({ ...request, key: `${request.key}:line` as LockKey });
  }
}

/** A process that is killed: nobody is told, and its places stay. */
export class DiesInTheLine extends HealthyStore {
  override stop(): void {
    // Nobody is turned away.
  }

  override async close(): Promise<void> {
    // Nothing is given up.
  }
}

/** A caller that gives up leaves its place behind. */
export class ForgetsToLeave extends HealthyStore {
  override async acquire({ signal, ...request }: AcquireRequest): Promise<LockGrant | null> {
    const gone = new Promise<never>((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    gone.catch(() => undefined); // whoever waits is told by the race
    return Promise.race([super.acquire(request), gone]);
  }
}

/** A waiter looks every now and then, and sleeps in between. */
export class LooksSeldom extends HealthyStore {
  override async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const grant = await super.acquire({ ...request, waitTimeMs: 0 });
    if (grant || request.waitTimeMs === 0) return grant;
    await this.whileChecked(pause(2_000, null, { ref: false }));
    return this.acquire(request);
  }
}

/** Its traits are others than the ones that chose the clauses. */
export class HasOtherTraits extends HealthyStore {
  override get traits(): LockStore['traits'] {
    return { ...this.inner.traits, fencing: 'none' };
  }
}

/** Shows an empty room. */
export class ShowsNobody extends HealthyStore {
  override async stateOf(): Promise<KeyState> {
    return { holders: [], waiters: 0, keptForMs: null };
  }
}

/** Shows whoever held the key last. */
export class ShowsTheLast extends HealthyStore {
  readonly #shown = new Map<LockKey, KeyState>();

  override async stateOf(key: LockKey): Promise<KeyState> {
    const state = await super.stateOf(key);
    if (state.holders.length > 0) this.#shown.set(key, state);
    return this.#shown.get(key) ?? state;
  }
}

/** Shows one of several holders. */
export class ShowsTheFirst extends HealthyStore {
  override async stateOf(key: LockKey): Promise<KeyState> {
    const state = await super.stateOf(key);
    return { ...state, holders: state.holders.slice(0, 1) };
  }
}

/** Says so, and does nothing. */
export class EndsNobody extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    return (await this.stateOf(key)).holders.length;
  }
}

/** The evicted holder hears nothing, however often it renews. */
export class EvictsSilently extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    const holder = this.shared.holders.get(key);
    if (holder) holder.grant.onLost = null;
    return super.forceRelease(key);
  }
}

/** Ends one of several holds. */
export class EndsTheLast extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    const { holders } = await this.stateOf(key);
    const last = this.shared.holders.get(key);
    if (last) await last.store.release(last.grant);
    return holders.length;
  }
}

/** Ends whatever anybody holds. */
export class EndsEverything extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    const ended = await super.forceRelease(key);
    for (const other of this.shared.holders.keys()) await super.forceRelease(other);
    return ended;
  }
}

export class AlwaysEndsOne extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    await super.forceRelease(key);
    return 1;
  }
}

/** Looks for a holder, and finds none. */
export class LeavesWhatIsKept extends HealthyStore {
  override async forceRelease(key: LockKey): Promise<number> {
    const { holders } = await this.stateOf(key);
    return holders.length === 0 ? 0 : super.forceRelease(key);
  }
}
