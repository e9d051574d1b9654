import type { LockKey } from '../../key/lock-key.js';
import type { Holder, KeyState } from '../lock-store.js';
import type { TurnRef } from '../turn-backend.js';
import type { RedisLink } from './redis.link.js';

/** Of a lock key: see `scripts/state.lua`. */
type StateReply = readonly [value: string, pttlMs: number, places: number, ...held: unknown[]];

/** What the operator's commands share with the turns of the same store. */
export interface OperatedSide {
  /** This process; empty when polling. */
  readonly process: string;
  /** How long a key is kept for whoever was called, in milliseconds. */
  readonly claimMs: number;
  /** First fencing token of a turn. */
  firstToken(turn: string): bigint;
}

/** Looks at a key, and ends holds, on one Redis. */
export class RedisOperator {
  constructor(
    private readonly link: RedisLink,
    private readonly side: OperatedSide,
  ) {}

  async stateOf(key: LockKey): Promise<KeyState> {
    const { lock, waiting } = this.link.keyspace.of(key);
    const reply = await this.link.send(key, (commands) =>
      commands.lockState(lock, waiting, this.side.process),
    );
    const [value, pttlMs, waiters, ...held] = reply as StateReply;
    return {
      holders: this.#holders(value, pttlMs, held),
      waiters,
      keptForMs: value === 'k:' ? pttlMs : null,
    };
  }

  async forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    const { lock, waiting } = this.link.keyspace.of(key);
    const inbox = this.side.process === '' ? '' : this.link.keyspace.inbox;
    const counted = this.link.isCluster ? '0' : '1';
    const owners = await this.link.send(key, (commands) =>
      commands.lockEvict(lock, waiting, inbox, key, counted, Math.ceil(this.side.claimMs)),
    );
    return (owners as string[]).map((owner) => ({ key, owner }));
  }

  #holders(value: string, pttlMs: number, held: readonly unknown[]): readonly Holder[] {
    const at = value.indexOf(':');
    const [before, owner] = [value.slice(0, at), value.slice(at + 1)];
    if (before === 'q') return together(owner === 's' ? 'shared' : 'permit', held);
    // Of a turn that was offered, whose process may be inside, the number is in the owner id.
    const turn = before === 'r' ? owner.slice(owner.indexOf(':') + 1) : before;
    // Kept closed, reserved, or nobody's.
    if (!/^\d+$/.test(turn)) return [];
    const fencingToken = this.side.firstToken(turn);
    return [{ owner, mode: 'exclusive', fencingToken, leaseLeftMs: Math.max(pttlMs, 0) }];
  }
}

/** @param held owner, time left, owner, time left, … */
function together(mode: 'shared' | 'permit', held: readonly unknown[]): readonly Holder[] {
  const holders: Holder[] = [];
  for (let n = 0; n < held.length; n += 2) {
    const [owner, left] = [String(held[n]), Number(held[n + 1])];
    holders.push({ owner, mode, fencingToken: null, leaseLeftMs: left });
  }
  return holders;
}

/** The hold that a message on the second channel says was ended; `null` for a message to a caller in the line. */
export function evictedBy(message: string): TurnRef | null {
  const [, owner, key] = /^-1 (\S+) (.*)$/s.exec(message) ?? [];
  return owner === undefined ? null : { owner, key: key as LockKey };
}
