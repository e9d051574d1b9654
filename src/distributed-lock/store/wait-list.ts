import type { KeyQueue } from './key-queue.js';
import type { AcquireRequest, LockGrant } from './lock-store.js';

/** What a waiting call needs from the store it waits in. */
export interface WaiterHost {
  /** The waiter has its answer: nothing need end its wait any more. */
  settled(waiter: Waiter): void;
  aborted(waiter: Waiter): void;
}

/** A call that is queueing in this process. Its links belong to the list it is in. */
export class Waiter {
  previous: Waiter | null = null;
  next: Waiter | null = null;
  queued = false;

  constructor(
    readonly request: AcquireRequest,
    readonly queue: KeyQueue,
    private readonly host: WaiterHost,
    private readonly fulfil: (grant: LockGrant | null) => void,
    private readonly fail: (error: unknown) => void,
  ) {
    request.signal?.addEventListener('abort', this, { once: true });
  }

  resolve(grant: LockGrant | null): void {
    this.#settled();
    this.fulfil(grant);
  }

  reject(error: unknown): void {
    this.#settled();
    this.fail(error);
  }

  /** The caller's signal has aborted: called by the signal, as an `EventListenerObject`. */
  handleEvent(): void {
    this.host.aborted(this);
  }

  #settled(): void {
    this.request.signal?.removeEventListener('abort', this);
    this.host.settled(this);
  }
}

/** Callers in arrival order. Leaving from the middle costs the same as leaving from the front. */
export class WaitList {
  #first: Waiter | null = null;
  #last: Waiter | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): Waiter | null {
    return this.#first;
  }

  add(waiter: Waiter): void {
    waiter.queued = true;
    waiter.previous = this.#last;
    if (this.#last) this.#last.next = waiter;
    else this.#first = waiter;
    this.#last = waiter;
    this.#size += 1;
  }

  /** @returns `false` if the waiter had left already. */
  remove(waiter: Waiter): boolean {
    if (!waiter.queued) return false;
    waiter.queued = false;
    if (waiter.previous) waiter.previous.next = waiter.next;
    else this.#first = waiter.next;
    if (waiter.next) waiter.next.previous = waiter.previous;
    else this.#last = waiter.previous;
    waiter.previous = waiter.next = null;
    this.#size -= 1;
    return true;
  }

  /** Takes waiters out, in order, and tells each; `tries` are those that do not wait. */
  dismiss(which: 'all' | 'tries', tell: (waiter: Waiter) => void): void {
    for (let waiter = this.#first; waiter;) {
      const { next } = waiter;
      if (which === 'all' || waiter.request.waitTimeMs === 0) {
        this.remove(waiter);
        tell(waiter);
      }
      waiter = next;
    }
  }
}
