/**
 * - `idle`: nobody here wants the key
 * - `asking`: a command that decides who goes next is on its way
 * - `waiting`: another process has the key; a wake-up or the timer ends the wait
 * - `held`: a local caller has the key
 */
export type Phase = 'idle' | 'asking' | 'waiting' | 'held';

/** Where a queue stands. Entering a phase ends the wait of the one before. */
export class QueuePhase {
  #now: Phase = 'idle';
  #timer: NodeJS.Timeout | null = null;
  /** Made on demand: only a store that closes waits. */
  #whenSettled: (() => void)[] | null = null;

  is(phase: Phase): boolean {
    return this.#now === phase;
  }

  enter(phase: Exclude<Phase, 'waiting'>): void {
    this.#leave(phase);
    if (phase === 'asking' || this.#whenSettled === null) return;
    for (const resolve of this.#whenSettled.splice(0)) resolve();
  }

  /** Enters `waiting`, for `ms` at most. */
  wait(ms: number, then: () => void): void {
    this.enter('idle');
    this.#leave('waiting');
    this.#timer = setTimeout(then, ms);
    this.#timer.unref();
  }

  /** Resolves when no command is under way that could bring the key. */
  settled(): Promise<void> {
    if (this.#now !== 'asking') return Promise.resolve();
    return new Promise((resolve) => (this.#whenSettled ??= []).push(resolve));
  }

  #leave(next: Phase): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#now = next;
  }
}
