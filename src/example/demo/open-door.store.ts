import { randomUUID } from 'node:crypto';
import type {
  AcquireRequest,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
} from 'nestjs-distributed-lock';

/**
 * The lock, switched off: grants every key to everybody at once. The services, their decorator and their transactions are the
 * same as with a real store; only the exclusion is missing. For showing what it is good for.
 */
export class OpenDoorStore implements LockStore {
  readonly traits = {
    name: 'open door',
    ownership: 'session',
    fencing: 'none',
    fair: 'none',
    wakes: 'push',
    reach: 'process',
    offers: [],
    keeps: 'process',
    showsHolders: 'none',
    forceRelease: 'none',
  } as const;

  async open(): Promise<void> {}

  async acquire({ key }: AcquireRequest): Promise<LockGrant> {
    return { key, owner: randomUUID(), fencingToken: null, validUntil: Infinity, onLost: null };
  }

  async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    return renewals.map(() => true);
  }

  async release(): Promise<ReleaseResult> {
    return 'released';
  }

  abandon(): void {}

  stop(): void {}

  async close(): Promise<void> {}
}
