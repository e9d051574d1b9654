import type { LockKey } from '../key/lock-key.js';
import type { OwnersUntil } from './owners-until.js';
import type { TurnBackend } from './turn-backend.js';

/** What a queue needs from the store it belongs to. */
export interface QueueHost {
  readonly backend: TurnBackend;
  /** Offers that were begun, for as long as the backend may still take them for offers: their tokens were given. Over all keys, as a queue may be forgotten before them. */
  readonly begun: OwnersUntil;
  /** Grants per turn before other processes are asked for. */
  readonly maxGrants: number;
  /** Milliseconds per turn before other processes are asked for. */
  readonly maxTurnMs: number;
  newOwner(): string;
  /** Whether an owner id found in the key is one of this process that nobody uses any more. */
  isDead(holder: string): boolean;
  /** Tells the backend, now and until it has heard it, that the owner id is done with. Never rejects. */
  giveBack(key: LockKey, owner: string): Promise<void>;
  /** This queue has nothing to do any more and may be forgotten. */
  idle(key: LockKey, queue: object): void;
}
