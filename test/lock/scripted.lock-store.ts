import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import type { LossReason } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type {
  AcquireRequest,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from '../../src/distributed-lock/store/lock-store.js';

export class ScriptedGrant implements LockGrant {
  onLost: ((reason: LossReason) => void) | null = null;

  constructor(
    readonly key: LockKey,
    readonly owner: string,
    readonly fencingToken: bigint,
    public validUntil: number,
  ) {}
}

/** Grants every request at once; renewals and releases are answered as the test says. Writes down what it is asked. */
export class ScriptedStore implements LockStore {
  readonly traits: StoreTraits = {
    name: 'scripted',
    ownership: 'lease',
    fencing: 'per-key',
    fair: 'none',
    wakes: 'poll',
    reach: 'process',
    offers: [],
    keeps: 'process',
    showsHolders: 'none',
    forceRelease: 'none',
  };
  /** `acquire k`, `release k`, `abandon k`, `stop`, `close`, in order. */
  readonly asked: string[] = [];
  /** The keys of each renewal, and when it was asked for. */
  readonly renewals: { readonly keys: readonly LockKey[]; readonly at: number }[] = [];
  readonly grants: ScriptedGrant[] = [];

  answerAcquire = async (request: AcquireRequest): Promise<LockGrant | null> => this.grant(request);
  answerRenewal = async (renewals: readonly Renewal[]): Promise<readonly boolean[]> =>
    this.confirm(renewals);
  answerRelease = async (_grant: LockGrant): Promise<ReleaseResult> => 'released';

  async open(): Promise<void> {}

  acquire(request: AcquireRequest): Promise<LockGrant | null> {
    this.asked.push(`acquire ${request.key}`);
    return this.answerAcquire(request);
  }

  renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    this.renewals.push({ keys: renewals.map(({ grant }) => grant.key), at: now() });
    return this.answerRenewal(renewals);
  }

  release(grant: LockGrant): Promise<ReleaseResult> {
    this.asked.push(`release ${grant.key}`);
    return this.answerRelease(grant);
  }

  abandon(grant: LockGrant): void {
    this.asked.push(`abandon ${grant.key}`);
  }

  stop(): void {
    this.asked.push('stop');
  }

  async close(): Promise<void> {
    this.asked.push('close');
  }

  /** A grant that counts for exactly its lease. */
  grant({ key, leaseTimeMs }: AcquireRequest): ScriptedGrant {
    const serial = this.grants.length + 1;
    const grant = new ScriptedGrant(key, `owner-${serial}`, BigInt(serial), now() + leaseTimeMs);
    this.grants.push(grant);
    return grant;
  }

  /** What a healthy store does: the leases count anew from now. */
  confirm(renewals: readonly Renewal[]): readonly boolean[] {
    return renewals.map(({ grant, leaseTimeMs }) => {
      if (!(grant instanceof ScriptedGrant)) return false;
      grant.validUntil = Math.max(grant.validUntil, now() + leaseTimeMs);
      return true;
    });
  }
}
