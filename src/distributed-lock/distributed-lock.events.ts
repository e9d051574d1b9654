import type { LossReason } from './distributed-lock.errors.js';

interface OfKey {
  /** The key as the caller wrote it, without the namespace. */
  readonly key: string;
}

interface OfHold extends OfKey {
  readonly owner: string;
  readonly fencingToken: bigint | null;
}

/** What happened to a lock, in the order a caller lives through it. Times are milliseconds. */
export type LockEvent =
  | ({ readonly type: 'attempted'; readonly waitTimeMs: number } & OfKey)
  | ({ readonly type: 'acquired'; readonly waitedMs: number } & OfHold)
  | ({ readonly type: 'timed-out'; readonly waitedMs: number } & OfKey)
  /** The store could not answer, the caller aborted, too many waited, or the module closed. */
  | ({ readonly type: 'failed'; readonly waitedMs: number; readonly error: unknown } & OfKey)
  | ({ readonly type: 'lost'; readonly heldMs: number; readonly reason: LossReason } & OfHold)
  | ({
      readonly type: 'released';
      readonly heldMs: number;
      readonly result: 'released' | 'not-held';
    } & OfHold)
  /** The store could not be told; the lock ends with its lease. The caller's result is not affected. */
  | ({
      readonly type: 'release-failed';
      readonly heldMs: number;
      readonly error: unknown;
    } & OfHold)
  /** Somebody of this process has ended so many holds of the key: see `DistributedLockService.forceRelease`. */
  | ({ readonly type: 'force-released'; readonly holds: number } & OfKey)
  /** A candidate became leader. */
  | ({ readonly type: 'elected' } & OfHold)
  /** Its term is over; `resigned` where it stepped down by itself. */
  | ({ readonly type: 'deposed'; readonly ledMs: number; readonly reason: LossReason } & OfHold)
  /** A callback of a candidate failed, or the store cannot be asked for the key; the candidate goes on. */
  | ({
      readonly type: 'leadership-failed';
      readonly during: 'campaign' | 'onElected' | 'onDeposed';
      readonly error: unknown;
    } & OfKey);

export type LockListener = (event: LockEvent) => void;

/** What an operator should know of. */
const TROUBLE: ReadonlySet<LockEvent['type']> = new Set([
  'lost',
  'release-failed',
  'force-released',
  'leadership-failed',
] as const);

/** Tells listeners what happens. A listener that throws never changes the answer of a locked call. */
export class LockEvents {
  readonly #listeners = new Set<LockListener>();
  #troubled: LockListener | null = null;

  /** Whether anybody is told of every lock; if not, an uncontended one need not be put into words. */
  get isFollowed(): boolean {
    return this.#listeners.size > 0;
  }

  /** @returns a function that removes the listener again. */
  on(listener: LockListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The one listener that is told of trouble alone, in place of any before it. */
  onTrouble(listener: LockListener): void {
    this.#troubled = listener;
  }

  emit(event: LockEvent): void {
    if (this.#troubled && TROUBLE.has(event.type)) tell(this.#troubled, event);
    for (const listener of this.#listeners) tell(listener, event);
  }
}

function tell(listener: LockListener, event: LockEvent): void {
  try {
    listener(event);
  } catch (error) {
    // Reported out of band: an observer's defect must not become the caller's error.
    process.emitWarning(
      error instanceof Error ? error : String(error),
      'DistributedLockListenerWarning',
    );
  }
}
