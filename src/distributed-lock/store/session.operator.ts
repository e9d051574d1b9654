import type { LockKey } from '../key/lock-key.js';
import type { Admission, KeyState } from './lock-store.js';
import type { OpenSession, SessionDesk } from './session-desk.js';
import type { LockId, SessionLink } from './session-link.js';
import type { GiveBackAnswer, TurnRef } from './turn-backend.js';

/** A session that has a lock, as its server sees it. */
export interface LockingSession {
  /** The server's number of the session. */
  readonly session: string;
  readonly mode: 'exclusive' | 'shared';
}

/** A session whose server tells who has a lock, and ends sessions. */
export interface OperatedLink extends SessionLink {
  /** Sessions that have the lock; this one, too. `waiting`: how many others have left a mark that they wait, `null` where the server does not say. */
  sessionsOf(id: LockId): Promise<{
    readonly having: readonly LockingSession[];
    readonly waiting: number | null;
  }>;
  /**
   * Ends every **other** session that has the lock, with all that it has.
   *
   * @returns how many.
   * @throws what the server says if it does not permit that.
   */
  endOthers(id: LockId): Promise<number>;
}

/** Looks at a key, and ends holds, by way of the one session of a process. */
export class SessionOperator<Link extends OperatedLink> {
  constructor(private readonly desk: SessionDesk<Link>) {}

  async stateOf(key: LockKey): Promise<KeyState> {
    return this.#asked(key, async ({ session, holds }) => {
      const id = holds.idOf(key);
      const { having, waiting } = await session.run((link) => link.sessionsOf(id));
      return {
        holders: having.map((it) => ({
          owner: `session ${it.session}`,
          mode: it.mode,
          fencingToken: null,
          leaseLeftMs: null,
        })),
        waiters: waiting === null ? null : waiting + holds.line.sharers(id.lock).length,
        keptForMs: null,
      };
    });
  }

  /** A hold of this process is given back, so that it ends alone; those of others end with their sessions. */
  async forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    return this.#asked(key, async ({ session, holds }) => {
      const id = holds.idOf(key);
      const turn = holds.holderOf(id);
      // Nobody else has it then, and once it is given back the one who has it is the successor.
      if (turn) return (await this.#giveBack(turn)).held ? [turn] : [];
      const sharers = holds.sharersOf(id);
      // First the others, for the same reason: as long as this session shares the lock, nobody has it alone.
      const others = await session.run((link) => link.endOthers(id));
      await Promise.all(sharers.map((place) => this.#leave(place)));
      return [...sharers, ...Array.from({ length: others }, () => ({ key, owner: '' }))];
    });
  }

  /** In the lane of the session, behind what has been asked about the key before. */
  #giveBack(turn: TurnRef): Promise<GiveBackAnswer> {
    return new Promise((resolve, reject) => {
      const command = { kind: 'giveBack', key: turn.key, turn, more: false, resolve, reject };
      this.desk.push(command);
    });
  }

  #leave({ key, owner }: TurnRef): Promise<unknown> {
    const place = { key, owner, admission: SHARED };
    return new Promise((resolve, reject) => {
      const command = { kind: 'leave', key, place, resolve, reject };
      this.desk.push(command);
    });
  }

  async #asked<T>(key: LockKey, ask: (open: OpenSession<Link>) => Promise<T>): Promise<T> {
    try {
      return await ask(this.desk.current);
    } catch (error) {
      throw this.desk.error(error, key);
    }
  }
}

const SHARED: Admission = { mode: 'shared', fair: false };
