interface Entrant {
  enter(): void;
  timer: NodeJS.Timeout | null;
}

/**
 * Lets the nested calls of one holder in, one at a time and in order.
 *
 * Two calls under one `Promise.all` are both "inside" their caller's hold; without a queue of their own they would run at the
 * same time, and the lock would protect nothing.
 */
export class EntryQueue {
  #inside = false;
  readonly #waiting = new Set<Entrant>();
  readonly #whenIdle: (() => void)[] = [];

  /**
   * @returns `false` if another nested call was inside for all of `waitTimeMs`.
   * @throws the signal's reason if it aborts first.
   */
  enter(waitTimeMs: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<boolean> {
    for (const signal of signals)
      if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (!this.#inside) {
      this.#inside = true;
      return Promise.resolve(true);
    }
    if (waitTimeMs === 0) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      const settle = (answer: () => void): void => {
        this.#waiting.delete(entrant);
        if (entrant.timer) clearTimeout(entrant.timer);
        for (const signal of signals) signal?.removeEventListener('abort', onAbort);
        answer();
      };
      const onAbort = (event: Event): void =>
        settle(() => reject((event.target as AbortSignal).reason as Error));
      const entrant: Entrant = {
        enter: () => settle(() => resolve(true)),
        timer: setTimeout(() => settle(() => resolve(false)), waitTimeMs),
      };
      entrant.timer?.unref();
      for (const signal of signals) signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(entrant);
    });
  }

  leave(): void {
    const [next] = this.#waiting;
    if (next) return next.enter();
    this.#inside = false;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  get isIdle(): boolean {
    return !this.#inside;
  }

  /** Resolves when no nested call is inside. */
  whenIdle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }
}
