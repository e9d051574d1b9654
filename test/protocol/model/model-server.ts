import type { LockKey } from '../../../src/distributed-lock/key/lock-key.js';
import type {
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TokenBlock,
} from '../../../src/distributed-lock/store/turn-backend.js';

/** The rules of the scripts in `store/redis/scripts`; each can be switched off, to see that the checks notice. */
export interface Rules {
  /** A process that has waited for long gets the key reserved. */
  readonly reserves: boolean;
  /** A process that was overtaken keeps its place. */
  readonly keepsPlaces: boolean;
  /** A give-back that finds no key wakes the next process. */
  readonly goneWakes: boolean;
  /** A repeated take never cuts a lease. */
  readonly neverShortens: boolean;
  /** A renewal compares the turn, not only the owner. */
  readonly renewsExactly: boolean;
  /** A pass deletes the key only after somebody was reached. */
  readonly popsFirst: boolean;
  /** Processes without a subscriber are skipped. */
  readonly skipsDead: boolean;
  /** Only the owner's give-back deletes the key. */
  readonly checksOwner: boolean;
  /** Turn numbers come from the clock and from what a process has seen, not from a counter alone. */
  readonly tokensOutliveData: boolean;
  /** A give-back wakes anybody at all. */
  readonly wakes: boolean;
  /** The same owner asks again and gets its turn. */
  readonly repeatable: boolean;
}

export const ALL_RULES: Rules = {
  reserves: true,
  keepsPlaces: true,
  goneWakes: true,
  neverShortens: true,
  renewsExactly: true,
  popsFirst: true,
  skipsDead: true,
  checksOwner: true,
  tokensOutliveData: true,
  wakes: true,
  repeatable: true,
};

interface Entry {
  /** `0` for a reservation; then `owner` is the process. */
  readonly turn: number;
  readonly owner: string;
  expiresAt: number;
}

const PATIENCE_MS = 100;
const CLAIM_MS = 200;
export const TOKENS_PER_TURN = 1_000;

/** The four scripts for one key, on a virtual clock. */
export class ModelServer {
  entry: Entry | null = null;
  /** Free because a script left it free: then nobody who waits may be asleep. */
  freed = false;
  readonly waiting = new Map<string, number>();
  /** @returns whether the process still listens. */
  publish: (process: string) => boolean = () => false;
  /** Called with what is wrong, when a confirmed renewal does not match the key. */
  onViolation: (what: string) => void = () => undefined;
  /** Counts losses of data: nobody is excluded over one. */
  #era = 0;
  readonly #eras = new Map<number, number>();
  #fence = 0;
  #ticks = 0;

  constructor(
    private readonly now: () => number,
    private readonly rules: Rules = ALL_RULES,
  ) {}

  /** Loses everything. */
  flush(): void {
    this.#era += 1;
    this.entry = null;
    this.freed = false;
    this.#fence = 0;
    this.waiting.clear();
  }

  get era(): number {
    return this.#era;
  }

  /** In which era the turn of a fencing token began. */
  eraOf(token: bigint): number {
    return this.#eras.get(Number(token / BigInt(TOKENS_PER_TURN))) ?? -1;
  }

  take(request: TakeRequest, process: string, seen: number): Granted | Busy {
    const { owner, leaseTimeMs, wait, more, since } = request;
    const current = this.live();
    if (this.rules.repeatable && current?.owner === owner) {
      const expiresAt = this.now() + leaseTimeMs;
      current.expiresAt = this.rules.neverShortens
        ? Math.max(current.expiresAt, expiresAt)
        : expiresAt;
      return { granted: true, tokens: block(current.turn) };
    }
    if (current && !(current.turn === 0 && current.owner === process)) {
      let place: number | null = null;
      if (wait) {
        const at = since === null || !this.rules.keepsPlaces ? this.#micros() : Number(since);
        if (!this.waiting.has(process)) this.waiting.set(process, at);
        place = this.waiting.get(process)!;
      }
      return {
        granted: false,
        retryInMs: Math.min(current.expiresAt - this.now() + 1, 5_000),
        since: place === null ? null : String(place),
        holder: current.owner,
      };
    }
    if (!more) this.waiting.delete(process);
    else if (!this.waiting.has(process)) this.waiting.set(process, this.#micros());
    return { granted: true, tokens: this.#start(owner, leaseTimeMs, seen) };
  }

  pass(turn: HeldTurn, process: string, seen: number): PassAnswer {
    const current = this.live();
    if (current?.owner !== turn.owner) return { outcome: 'lost' };
    const others = this.waiting.size > (this.waiting.has(process) ? 1 : 0);
    this.waiting.delete(process);
    if (!this.rules.popsFirst && others) this.#leaveFree();
    if (this.#wakeFirst() || (!this.rules.popsFirst && others)) {
      const since = this.#micros();
      this.waiting.set(process, since);
      return { outcome: 'passed', retryInMs: 5_000, since: String(since) };
    }
    const leaseTimeMs = Math.max(turn.leaseTimeMs, current.expiresAt - this.now());
    return { outcome: 'continues', tokens: this.#start(turn.owner, leaseTimeMs, seen) };
  }

  renew(turn: HeldTurn): boolean {
    const current = this.live();
    const number = turnNumber(turn.tokens);
    const expiresAt = this.now() + turn.leaseTimeMs;
    if (current?.owner !== turn.owner) return false;
    if (current.turn !== number) {
      if (this.rules.renewsExactly) return false;
      this.onViolation(`S5: turn ${number} was confirmed, the key has ${current.turn}`);
    }
    current.expiresAt = Math.max(current.expiresAt, expiresAt);
    return true;
  }

  giveBack(owner: string, process: string, more: boolean): GiveBackAnswer {
    const current = this.live();
    const held = current !== null && owner !== '' && current.turn !== 0 && current.owner === owner;
    const reserved = current !== null && current.turn === 0 && current.owner === process;
    if (current && !held && !reserved && this.rules.checksOwner) {
      if (!more) this.waiting.delete(process);
      return { held: false, woke: false };
    }
    if (reserved && more) return { held: false, woke: false };
    if (current) this.#leaveFree();
    if (!more) this.waiting.delete(process);
    else if (held || !this.waiting.has(process)) {
      this.waiting.delete(process);
      this.waiting.set(process, this.#micros());
    }
    if (!current && !this.rules.goneWakes) return { held, woke: false };
    return { held, woke: this.rules.wakes && this.#wakeFirst() };
  }

  live(): Entry | null {
    if (this.entry && this.entry.expiresAt <= this.now()) {
      this.entry = null;
      this.freed = false;
    }
    return this.entry;
  }

  #start(owner: string, leaseTimeMs: number, seen: number): TokenBlock {
    const counted = this.#fence + 1;
    const turn = this.rules.tokensOutliveData
      ? Math.max(counted, seen + 1, this.#micros())
      : counted;
    this.#fence = turn;
    this.#eras.set(turn, this.#era);
    this.entry = { turn, owner, expiresAt: this.now() + leaseTimeMs };
    this.freed = false;
    return block(turn);
  }

  #leaveFree(): void {
    this.entry = null;
    this.freed = true;
  }

  /** Pops and publishes; on success leaves the key to whom it reached. */
  #wakeFirst(): boolean {
    for (;;) {
      const [first] = [...this.waiting].toSorted((a, b) => a[1] - b[1]);
      if (!first) return false;
      const [process, since] = first;
      this.waiting.delete(process);
      if (!this.publish(process) && this.rules.skipsDead) continue;
      this.#leaveFree();
      if (this.rules.reserves && this.#micros() - since >= PATIENCE_MS * 1_000) {
        this.entry = { turn: 0, owner: process, expiresAt: this.now() + CLAIM_MS };
        this.freed = false;
      }
      return true;
    }
  }

  /** As on a real server, two commands never see the same microsecond. */
  #micros(): number {
    this.#ticks += 1;
    return 1_000_000_000 + Math.floor(this.now() * 1_000) + this.#ticks;
  }
}

export const KEY = 'key' as LockKey;

const block = (turn: number): TokenBlock => ({
  first: BigInt(turn) * BigInt(TOKENS_PER_TURN),
  size: TOKENS_PER_TURN,
});

export const turnNumber = (tokens: TokenBlock | null): number =>
  tokens === null ? -1 : Number(tokens.first / BigInt(TOKENS_PER_TURN));
