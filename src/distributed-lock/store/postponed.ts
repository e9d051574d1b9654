type Action = () => Promise<unknown>;

/** Things to do later, or at the end if that comes first. Its timers never keep the process alive. */
export class Postponed {
  readonly #due = new Map<Action, NodeJS.Timeout>();

  /** @param action must not reject. */
  in(ms: number, action: Action): void {
    const timer = setTimeout(() => {
      this.#due.delete(action);
      void action();
    }, ms);
    this.#due.set(action, timer.unref());
  }

  /** Does now what is left, and waits for it. */
  async now(): Promise<void> {
    const due = [...this.#due];
    this.#due.clear();
    for (const [, timer] of due) clearTimeout(timer);
    await Promise.all(due.map(([action]) => action()));
  }
}
