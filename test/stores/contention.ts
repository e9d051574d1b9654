import { setTimeout as pause } from 'node:timers/promises';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import { LockStoreUnavailableError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type { LockGrant, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { freshKey, request, take } from '../contract/lock-store.contract.js';
import { until } from '../support/until.js';

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
    if (grant.fencingToken !== null && grant.fencingToken <= this.#lastToken)
      this.anomalies.push(`${grant.owner}: token`);
    this.#lastToken = grant.fencingToken ?? this.#lastToken;
    this.#inside = grant;
    this.entered += 1;
  }
}

/**
 * Eight callers of one process, each holding for 5 ms again and again, and one of another process who waits for `waitTimeMs`.
 *
 * @returns whether that one was served.
 */
export async function isServedBeside(
  crowd: LockStore,
  other: LockStore,
  waitTimeMs: number,
): Promise<boolean> {
  const key = freshKey();
  const stop = new AbortController();
  let entered = 0;
  const callers = Array.from({ length: 8 }, async () => {
    while (!stop.signal.aborted) {
      const grant = await take(crowd, key, { waitTimeMs: 20_000 });
      entered += 1;
      await pause(5);
      await crowd.release(grant);
    }
  });
  await until('the crowd to go on', () => entered > 8);
  const served = await other.acquire(request(key, { waitTimeMs }));
  stop.abort();
  if (served) await other.release(served);
  await Promise.all(callers);
  return served !== null;
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
