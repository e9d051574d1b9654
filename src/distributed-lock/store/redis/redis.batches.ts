import type { LockKey } from '../../key/lock-key.js';
import { redisError } from '../redis-client/redis.errors.js';
import type { RedisKeyspace } from '../redis-client/redis.keys.js';
import type { ScriptConnection } from './redis.scripts.js';

/** A command about one lock: a function of the script `batch.lua`, by its name and what it takes. */
export interface LockCommand {
  readonly command: 'acquire' | 'pass' | 'release';
  readonly key: LockKey;
  readonly owner: string;
  /** Whether the process has callers that wait: none, the one that asks, others. */
  readonly queue: '0' | '1' | '2';
  /** In milliseconds; of a release, nothing. */
  readonly leaseMs?: number;
  readonly since?: string | null;
}

/** A command, and who waits for its answer. */
class Asked {
  constructor(
    readonly command: LockCommand,
    private readonly read: (reply: never) => unknown,
    private readonly resolve: (answer: never) => void,
    readonly reject: (error: unknown) => void,
  ) {}

  settle(reply: unknown): void {
    if (reply instanceof Error) this.reject(redisError(reply, this.command.key));
    else this.resolve(this.read(reply as never) as never);
  }
}

/** The way to the server. */
export interface BatchLink {
  /** Whether keys of different locks can be in one call. In a Cluster they share a slot, which two locks hardly ever do. */
  readonly takesTogether: boolean;
  readonly keyspace: RedisKeyspace;
  /** What each call says about the process that asks, and the highest turn number that it has seen, as `batch.lua` takes them. */
  about(): readonly [process: string, seen: string];
  /** Sends a call, and tells what came of it. @param key of a single command, for errors. */
  call(
    key: LockKey | null,
    command: (commands: ScriptConnection) => Promise<unknown>,
    answered: (reply: unknown) => void,
    failed: (error: unknown) => void,
  ): void;
}

/** So many commands at least are sent together before the turn of the event loop is over: see {@link CommandBatches}. */
const FEWEST_AHEAD = 8;
/** So many at most; a script stops the server for everybody while it runs: these take it about a third of a millisecond. */
const LONGEST_BATCH = 64;

/**
 * Sends what is asked for in one turn of the event loop in few calls, in the order in which it was asked for.
 *
 * What a client pays for is the call, not the key: a write to the socket, a read from it, an object and its promise. A command that
 * is alone goes alone; it is not held up to gather others. As soon as half of all that is unanswered has been gathered it is sent, so that the server
 * works on one half while this process prepares the other; in one call, each would wait for the other all the time.
 */
export class CommandBatches {
  #gathered: Asked[] = [];
  /** Commands that were sent and have no answer yet. */
  #underWay = 0;

  constructor(private readonly link: BatchLink) {}

  /**
   * Rejects as the call does, or with what the script says about this command.
   *
   * @param read makes the answer of the script's reply; must not throw.
   */
  ask<Answer>(command: LockCommand, read: (reply: never) => Answer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      // Once all that is ready now has run: whoever got an answer in this turn has asked for the next thing by then.
      if (this.#gathered.length === 0) process.nextTick(() => this.flush());
      this.#gathered.push(new Asked(command, read, resolve, reject));
      if (this.#isEnough) this.flush();
    });
  }

  get #isEnough(): boolean {
    const { length } = this.#gathered;
    return length >= LONGEST_BATCH || (length >= FEWEST_AHEAD && length >= this.#underWay);
  }

  /** Sends what was gathered now: before the connection ends, a release that was asked for is still written to it. */
  flush(): void {
    const gathered = this.#gathered;
    if (gathered.length === 0) return;
    this.#gathered = [];
    if (this.link.takesTogether) return this.#send(gathered);
    for (const asked of gathered) this.#send([asked]);
  }

  #send(batch: readonly Asked[]): void {
    const call = this.#call(batch);
    this.#underWay += batch.length;
    this.link.call(
      batch.length === 1 ? batch[0]!.command.key : null,
      (commands) => commands.lockBatch(call),
      (replies) => {
        this.#underWay -= batch.length;
        for (let n = 0; n < batch.length; n += 1) batch[n]!.settle((replies as unknown[])[n]);
      },
      (error) => {
        this.#underWay -= batch.length;
        for (const asked of batch) asked.reject(error);
      },
    );
  }

  /** What `batch.lua` takes: the number of keys, the keys, the arguments. */
  #call(batch: readonly Asked[]): (string | number)[] {
    const { keyspace } = this.link;
    const names = batch.map(({ command }) => keyspace.of(command.key));
    const call: (string | number)[] = [2 * batch.length + 1, names[0]!.fence];
    for (const { lock, waiting } of names) call.push(lock, waiting);
    const leaseMs =
      batch.find(({ command }) => command.leaseMs !== undefined)?.command.leaseMs ?? 0;
    const [process, seen] = this.link.about();
    const texts = batch.map(({ command }) => commandText(command, leaseMs));
    call.push(process, seen, leaseMs, texts.join('\n'));
    return call;
  }
}

/** A command as `batch.lua` reads it. @param callLeaseMs the lease that the call says for all. */
export function commandText(
  { command, owner, queue, leaseMs, since }: Omit<LockCommand, 'key'>,
  callLeaseMs: number,
): string {
  const isCommon = (leaseMs === undefined || leaseMs === callLeaseMs) && (since ?? '0') === '0';
  return isCommon
    ? `${command}${queue} ${owner}`
    : `${command}${queue}:${leaseMs ?? callLeaseMs}:${since ?? 0} ${owner}`;
}
