import type { LockKey } from '../key/lock-key.js';
import type { Admission } from '../store/lock-store.js';
import type { EntryQueue } from './entry-queue.js';
import type { Hold } from './hold.js';

/** A hold as the flow sees it: with the ways to end it that callers do not have. */
export interface ManagedHold extends Hold {
  /** Releases, at the latest when the nested calls inside it have ended. Never throws: by now the caller has its answer. */
  end(): Promise<void>;
  /** @throws {LockLostError} if the hold was lost. One that its holder has released is not lost. */
  assertNotLost(): void;
  /** Stops holding without a release: the key stays closed until its lease is over. */
  abandon(): void;
  /** When the hold is lost unless it is renewed, on the scale of `distributed-lock.clock.ts`. */
  readonly deadline: number;
  /** Whether it is renewed for as long as it is held. */
  readonly renews: boolean;
  /** The part of this hold that concerns one key: itself, or one of several. */
  part(key: LockKey): HoldPart | undefined;
}

/** A hold of a single key, which nested calls can join. */
export interface HoldPart extends ManagedHold {
  readonly entries: EntryQueue;
  /** Who else may be inside beside this holder. */
  readonly mode: Admission['mode'];
  /** Whether it can still be joined: not released, not lost. */
  readonly isOpen: boolean;
  /** When the outermost call ends, abandons in place of releasing; until then the hold goes on. */
  abandonAtEnd(): void;
}
