import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { request } from '../contract/lock-store.contract.js';

/** Callers that go in and out until told to stop, each believing in its grant only while it is valid. */
export class Contention {
  entered = 0;
  /** Somebody was inside while the grant of somebody else was still valid, or a token did not grow. */
  readonly anomalies: string[] = [];
  #over = false;
  #inside: LockGrant | null = null;
  #lastToken = -1n;
  readonly #callers: Promise<void>[];

  /** @param stay what a caller does inside. */
  constructor(
    stores: readonly LockStore[],
    key: LockKey,
    private readonly stay: (grant: LockGrant) => Promise<unknown> = () => pause(2),
  ) {
    this.#callers = stores.map((store) => this.#call(store, key));
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#callers);
  }

  async #call(store: LockStore, key: LockKey): Promise<void> {
    while (!this.#over) {
      const grant = await store.acquire(request(key, { waitTimeMs: 5_000 })).catch(unavailable);
      if (!grant) continue;
      this.#enter(grant);
      await this.stay(grant);
      if (this.#inside === grant) this.#inside = null;
      await store.release(grant).catch(unavailable);
    }
  }

  #enter(grant: LockGrant): void {
    const before = this.#inside;
    if (before && before.validUntil > now()) this.anomalies.push(`${grant.owner}: two inside`);
    if (grant.fencingToken! <= this.#lastToken) this.anomalies.push(`${grant.owner}: token`);
    this.#lastToken = grant.fencingToken!;
    this.#inside = grant;
    this.entered += 1;
  }
}

/** Filled when the holder is told. */
export function lossOf(grant: LockGrant): { reason?: string } {
  const loss: { reason?: string } = {};
  grant.onLost = (reason) => Object.assign(loss, { reason });
  return loss;
}

/** Whether the server was reached and knows the grant. */
export function isHonoured(store: LockStore, grant: LockGrant): Promise<boolean> {
  return store.renew([{ grant, leaseTimeMs: 1_000 }]).then(
    ([held]) => held!,
    () => false,
  );
}

function unavailable(error: unknown): null {
  if (error instanceof LockStoreUnavailableError) return null;
  throw error;
}
