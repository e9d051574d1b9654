import type { Line } from './line.js';
import type { LineRequest } from './line-caller.js';
import type { LockKey } from '../key/lock-key.js';
import { LineGrant } from './line-grant.js';
import type {
  AcquireRequest,
  KeyState,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from './lock-store.js';
import type { QueueingLockStore } from './queueing.lock-store.js';

/** A store of turns with a line beside it: a request that names its {@link AcquireRequest.admission} stands in the line. */
export class LineLockStore implements LockStore {
  constructor(
    private readonly turns: QueueingLockStore,
    private readonly line: Line,
  ) {}

  get traits(): StoreTraits {
    return this.turns.traits;
  }

  open(namespace: string, timeoutMs: number): Promise<void> {
    this.line.open();
    return this.turns.open(namespace, timeoutMs);
  }

  acquire(request: AcquireRequest): Promise<LockGrant | null> {
    return standsInLine(request) ? this.line.acquire(request) : this.turns.acquire(request);
  }

  async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    if (!renewals.some(isOfLine)) return this.turns.renew(renewals);
    const inLine = renewals.filter(isOfLine);
    if (inLine.length === renewals.length) return this.line.renew(renewals);
    const others = renewals.filter((renewal) => !isOfLine(renewal));
    const [ofLine, ofTurns] = await Promise.all([
      this.line.renew(inLine),
      this.turns.renew(others),
    ]);
    const honoured = new Map<Renewal, boolean>();
    for (const [index, renewal] of inLine.entries()) honoured.set(renewal, ofLine[index]!);
    for (const [index, renewal] of others.entries()) honoured.set(renewal, ofTurns[index]!);
    return renewals.map((renewal) => honoured.get(renewal)!);
  }

  release(grant: LockGrant, keepForMs?: number): Promise<ReleaseResult> {
    const store = grant instanceof LineGrant ? this.line : this.turns;
    return store.release(grant, keepForMs);
  }

  abandon(grant: LockGrant): void {
    if (grant instanceof LineGrant) this.line.abandon(grant);
    else this.turns.abandon(grant);
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return this.turns.stateOf(key);
  }

  async forceRelease(key: LockKey): Promise<number> {
    const ended = await this.turns.endHolds(key);
    await Promise.all(ended.map((hold) => this.line.evicted(hold)));
    return ended.length;
  }

  stop(): void {
    this.line.stop();
    this.turns.stop();
  }

  async close(): Promise<void> {
    this.stop();
    // First the line: closing the turns closes the backend of both.
    await this.line.close();
    await this.turns.close();
  }
}

function standsInLine(request: AcquireRequest): request is LineRequest {
  return request.admission !== undefined;
}

const isOfLine = ({ grant }: Renewal): boolean => grant instanceof LineGrant;
