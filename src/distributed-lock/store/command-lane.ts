import type { LockKey } from '../key/lock-key.js';

/** Something that is asked of a backend about one key. */
export interface LaneCommand {
  readonly kind: string;
  readonly key: LockKey;
  readonly reject: (error: unknown) => void;
}

/** Keeps statements short, however many keys are asked for at once. */
const LONGEST_BATCH = 100;

/**
 * Executes commands in the order they are given, one statement at a time. Commands of one kind about different keys that have
 * gathered meanwhile go together.
 */
export class CommandLane<Command extends LaneCommand> {
  readonly #queue: Command[] = [];
  #running = false;

  /** @param send settles every command of the batch, or rejects: then each of them is rejected with the error. */
  constructor(private readonly send: (batch: readonly [Command, ...Command[]]) => Promise<void>) {}

  push(command: Command): void {
    this.#queue.push(command);
    if (this.#running) return;
    this.#running = true;
    // Not at once: what the same turn of the event loop asks for goes along.
    queueMicrotask(() => void this.#run());
  }

  async #run(): Promise<void> {
    for (let first = this.#queue.shift(); first; first = this.#queue.shift()) {
      const batch = this.#batch(first);
      try {
        await this.send(batch);
      } catch (error) {
        for (const command of batch) command.reject(error);
      }
    }
    this.#running = false;
  }

  #batch(first: Command): [Command, ...Command[]] {
    const batch: [Command, ...Command[]] = [first];
    const keys = new Set([first.key]);
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      if (next.kind !== first.kind || keys.has(next.key) || batch.length === LONGEST_BATCH) break;
      keys.add(next.key);
      batch.push(next);
      this.#queue.shift();
    }
    return batch;
  }
}
