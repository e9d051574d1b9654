import type { AcquireRequest, LockGrant } from './lock-store.js';

/** A call that is queueing in this process. Its links belong to the list it is in. */
export class Waiter {
  previous: Waiter | null = null;
  next: Waiter | null = null;
  queued = false;

  constructor(
    readonly request: AcquireRequest,
    readonly resolve: (grant: LockGrant | null) => void,
    readonly reject: (error: unknown) => void,
  ) {}
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
