import type { LockKey } from '../../../src/distributed-lock/key/lock-key.js';
import type {
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  Offer,
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
  /** A process that is woken is offered its turn, if it has not waited for long. */
  readonly offers: boolean;
  /** Who is told to wait learns which turns had begun by then. */
  readonly tellsLatest: boolean;
  /** An offer is kept until the time is over that it says. */
  readonly keepsOffers: boolean;
  /** A process that leaves learns that it was offered a turn. */
  readonly tellsLeaving: boolean;
  /** Not a rule: a process that was offered a turn ends it by asking, or leaving, under any owner id. */
  readonly replaces: boolean;
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
  offers: true,
  tellsLatest: true,
  keepsOffers: true,
  tellsLeaving: true,
  replaces: false,
};

interface Entry {
  /** `0` for a reservation without an offer; then `owner` is the process. */
  readonly turn: number;
  readonly owner: string;
  expiresAt: number;
  /** The process for which the key is kept; `null` once it is a turn. */
  keptFor: string | null;
}

const PATIENCE_MS = 100;
const CLAIM_MS = 200;
const OFFER_MS = 300;
export const TOKENS_PER_TURN = 1_000;

/** The four scripts for one key, on a virtual clock. */
export class ModelServer {
  entry: Entry | null = null;
  /** Free because a script left it free: then nobody who waits may be asleep. */
  freed = false;
  readonly waiting = new Map<string, number>();
  /** @returns whether the process still listens. */
  publish: (process: string, offer: Offer | null) => boolean = () => false;
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
      if (current.keptFor !== null) this.#queueBehind(process, more);
      current.keptFor = null;
      return { granted: true, tokens: block(current.turn) };
    }
    const replaces = current?.keptFor === process && (current.turn === 0 || this.rules.replaces);
    if (current && !replaces) {
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
        latest: this.#latest(seen),
        offered: current.keptFor === process,
      };
    }
    this.#queueBehind(process, more);
    return { granted: true, tokens: this.#start(owner, leaseTimeMs, seen) };
  }

  pass(turn: HeldTurn, process: string, seen: number): PassAnswer {
    const current = this.live();
    if (current?.owner !== turn.owner) return { outcome: 'lost' };
    const others = this.waiting.size > (this.waiting.has(process) ? 1 : 0);
    this.waiting.delete(process);
    if (!this.rules.popsFirst && others) this.#leaveFree();
    if (this.#wakeFirst(seen) || (!this.rules.popsFirst && others)) {
      const since = this.#micros();
      this.waiting.set(process, since);
      return {
        outcome: 'passed',
        retryInMs: 5_000,
        since: String(since),
        latest: this.#latest(seen),
      };
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
    current.keptFor = null;
    return true;
  }

  giveBack(owner: string, process: string, more: boolean, seen: number): GiveBackAnswer {
    const current = this.live();
    const held = current !== null && owner !== '' && current.turn !== 0 && current.owner === owner;
    const replaces = current?.turn === 0 || this.rules.replaces;
    const reserved = current?.keptFor === process && replaces;
    if (current && !held && !reserved && this.rules.checksOwner) {
      if (!more) this.waiting.delete(process);
      const isOffered = !more && current.keptFor === process && this.rules.tellsLeaving;
      return { held: false, woke: false, offered: isOffered ? current.owner : null };
    }
    if (reserved && more) return { held: false, woke: false };
    if (current) this.#leaveFree();
    if (!more) this.waiting.delete(process);
    else if (held || !this.waiting.has(process)) {
      this.waiting.delete(process);
      this.waiting.set(process, this.#micros());
    }
    if (!current && !this.rules.goneWakes) return { held, woke: false };
    return { held, woke: this.rules.wakes && this.#wakeFirst(seen) };
  }

  live(): Entry | null {
    if (this.entry && this.entry.expiresAt <= this.now()) {
      this.entry = null;
      this.freed = false;
    }
    return this.entry;
  }

  #queueBehind(process: string, more: boolean): void {
    if (!more) this.waiting.delete(process);
    else if (!this.waiting.has(process)) this.waiting.set(process, this.#micros());
  }

  /** After a loss of data nobody knows, until the next turn. What is offered from now on is above what the process that asks has seen. */
  #latest(seen: number): TokenBlock | null {
    const isKnown = this.#fence > 0;
    this.#fence = Math.max(this.#fence, seen);
    if (!this.rules.tellsLatest) return block(0);
    return isKnown ? block(this.#fence) : null;
  }

  #start(owner: string, leaseTimeMs: number, seen: number): TokenBlock {
    const turn = this.#next(seen);
    this.entry = { turn, owner, expiresAt: this.now() + leaseTimeMs, keptFor: null };
    this.freed = false;
    return block(turn);
  }

  #next(seen: number): number {
    const counted = this.#fence + 1;
    const turn = this.rules.tokensOutliveData
      ? Math.max(counted, seen + 1, this.#micros())
      : counted;
    this.#fence = turn;
    this.#eras.set(turn, this.#era);
    return turn;
  }

  #leaveFree(): void {
    this.entry = null;
    this.freed = true;
  }

  /** Pops and publishes; on success leaves the key to whom it reached. */
  #wakeFirst(seen: number): boolean {
    for (;;) {
      const [first] = [...this.waiting].toSorted((a, b) => a[1] - b[1]);
      if (!first) return false;
      const [process, since] = first;
      this.waiting.delete(process);
      const waited = this.#micros() - since;
      const offer = this.#offer(process, waited, seen);
      if (!this.publish(process, offer) && this.rules.skipsDead) continue;
      this.#leaveFree();
      if (offer) {
        const keptMs = this.rules.keepsOffers ? offer.keptMs : 20;
        this.#keepFor(process, turnNumber(offer.tokens), offer.owner, keptMs);
      } else if (this.rules.reserves && waited >= PATIENCE_MS * 1_000) {
        this.#keepFor(process, 0, process, CLAIM_MS);
      }
      return true;
    }
  }

  #offer(process: string, waited: number, seen: number): Offer | null {
    if (!this.rules.offers || waited >= (OFFER_MS * 1_000) / 3) return null;
    const turn = this.#next(seen);
    return { owner: `${process}:${turn}`, tokens: block(turn), keptMs: OFFER_MS };
  }

  #keepFor(process: string, turn: number, owner: string, ms: number): void {
    this.entry = { turn, owner, expiresAt: this.now() + ms, keptFor: process };
    this.freed = false;
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
