interface Entrant {
  readonly together: boolean;
  enter(): void;
  timer: NodeJS.Timeout | null;
}

/**
 * Lets the nested calls of one holder in, one at a time and in order.
 *
 * Two calls under one `Promise.all` are both "inside" their caller's hold; without a queue of their own they would run at the
 * same time, and the lock would protect nothing. Shared ones may run together, as they would on different servers.
 */
export class EntryQueue {
  #inside = 0;
  /** Those inside tolerate others of their kind. */
  #together = false;
  readonly #waiting = new Set<Entrant>();
  readonly #whenIdle: (() => void)[] = [];

  /**
   * @param together beside others that say so, unless one that does not waits before it.
   * @returns `false` if another nested call was inside for all of `waitTimeMs`.
   * @throws the signal's reason if it aborts first.
   */
  enter(
    waitTimeMs: number,
    together: boolean,
    ...signals: readonly (AbortSignal | undefined)[]
  ): Promise<boolean> {
    for (const signal of signals)
      if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#waiting.size === 0 && this.#mayEnter(together)) {
      this.#goIn(together);
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
        together,
        enter: () => settle(() => resolve(true)),
        timer: setTimeout(() => settle(() => resolve(false)), waitTimeMs),
      };
      entrant.timer?.unref();
      for (const signal of signals) signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(entrant);
    });
  }

  leave(): void {
    this.#inside -= 1;
    for (const next of this.#waiting) {
      if (!this.#mayEnter(next.together)) return;
      this.#goIn(next.together);
      next.enter();
    }
    if (this.isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  get isIdle(): boolean {
    return this.#inside === 0;
  }

  /** Resolves when no nested call is inside. */
  whenIdle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  #mayEnter(together: boolean): boolean {
    return this.isIdle || (together && this.#together);
  }

  #goIn(together: boolean): void {
    this.#inside += 1;
    this.#together = together;
  }
}
