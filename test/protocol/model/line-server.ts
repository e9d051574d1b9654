import type {
  Admitted,
  EnterRequest,
  HeldPlace,
  LineBackend,
  LineListener,
  LinePlace,
  NotYet,
} from '../../../src/distributed-lock/store/line-backend.js';
import { ModelNetwork } from './model-network.js';

/** The rules of `store/redis/scripts/{line,enter,leave,stay}.lua`; each can be switched off, to see that the checks notice. */
export interface LineRules {
  /** Whoever leaves lets the next ones in. */
  readonly admits: boolean;
  /** A caller that comes enters only if nobody waits ahead of it. */
  readonly queuesUp: boolean;
  /** Shared callers look at those inside only, and are let in beside an exclusive one. */
  readonly keepsKindsApart: boolean;
  /** Only those who fit beside the others are counted in. */
  readonly countsPermits: boolean;
  /** A caller that was let in has its claim only, until it confirms. */
  readonly claims: boolean;
  /** Holders whose lease is over are put out by whoever looks. */
  readonly putsOut: boolean;
  /** Only the owner's leave ends its hold. */
  readonly checksOwner: boolean;
  /** A repeated enter never cuts a lease. */
  readonly neverShortens: boolean;
  /** The same owner asks again and is inside. */
  readonly repeatable: boolean;
}

export const ALL_LINE_RULES: LineRules = {
  admits: true,
  queuesUp: true,
  keepsKindsApart: true,
  countsPermits: true,
  claims: true,
  putsOut: true,
  checksOwner: true,
  neverShortens: true,
  repeatable: true,
};

const CLAIM_MS = 200;
const SAFETY_MS = 5_000;

interface Holder {
  readonly place: LinePlace;
  /** Of an exclusive one. */
  readonly turn: number;
  until: number;
}

/** The line of one key, on a virtual clock. */
export class LineServer {
  readonly inside = new Map<string, Holder>();
  readonly waiting = new Map<string, { readonly place: LinePlace; readonly since: number }>();
  /** @returns whether the process of that owner still listens. */
  call: (place: LinePlace, inMs: number) => boolean = () => false;
  onViolation: (what: string) => void = () => undefined;
  #settled = false;
  era = 0;
  /** In which era an owner, or a token, came in. */
  readonly #eras = new Map<string | bigint, number>();
  #lastTurn = 0;
  #ticks = 0;

  constructor(
    private readonly now: () => number,
    private readonly rules: LineRules,
  ) {}

  /** Loses everything. */
  flush(): void {
    this.era += 1;
    this.inside.clear();
    this.waiting.clear();
    this.#settled = false;
  }

  eraOf(ownerOrToken: string | bigint): number {
    return this.#eras.get(ownerOrToken) ?? -1;
  }

  enter({ place, leaseTimeMs, wait, since }: EnterRequest): Admitted | NotYet {
    this.#putOutTheLate();
    const mine = this.inside.get(place.owner);
    const until = this.now() + leaseTimeMs;
    if (mine && this.rules.repeatable) {
      mine.until = this.rules.neverShortens ? Math.max(mine.until, until) : until;
      return this.#answer(mine);
    }
    this.#admit(place.owner, leaseTimeMs);
    for (let head = this.#head(); head && head.place.owner !== place.owner; head = this.#head()) {
      if (!this.#fits(place) || this.call(head.place, NaN)) break;
      this.waiting.delete(head.place.owner);
      this.#admit(place.owner, leaseTimeMs);
    }
    const isFirst = this.waiting.size === 0 || !this.rules.queuesUp;
    if (!this.inside.has(place.owner) && isFirst && this.#fits(place))
      this.#letIn(place, leaseTimeMs);
    const holder = this.inside.get(place.owner);
    if (holder) return this.#answer(holder);
    if (wait && !this.waiting.has(place.owner))
      this.waiting.set(place.owner, {
        place,
        since: since === null ? this.#micros() : Number(since),
      });
    const [first] = [...this.inside.values()].toSorted((a, b) => a.until - b.until);
    const left = first ? first.until - this.now() : -1;
    return {
      admitted: false,
      retryInMs: left < 0 ? SAFETY_MS : Math.min(left + 1, SAFETY_MS),
      since: String(this.waiting.get(place.owner)?.since ?? '') || null,
      holder: first?.place.owner ?? null,
    };
  }

  leave(place: LinePlace): boolean {
    this.waiting.delete(place.owner);
    this.#putOutTheLate();
    const was = this.inside.delete(place.owner);
    if (!was && !this.rules.checksOwner) this.inside.clear();
    this.#settled = true;
    if (this.rules.admits) this.#admit('', 0);
    return was;
  }

  stay({ place, token, leaseTimeMs }: HeldPlace): boolean {
    const holder = this.inside.get(place.owner);
    if (!holder || holder.until <= this.now()) return false;
    if (token !== null && BigInt(holder.turn) !== token) return false;
    holder.until = Math.max(holder.until, this.now() + leaseTimeMs);
    return true;
  }

  /** Whether those inside tolerate it, by the true rules. */
  tolerates({ admission }: LinePlace): boolean {
    const live = [...this.inside.values()].filter(({ until }) => until > this.now());
    if (live.length === 0) return true;
    if (admission.mode === 'exclusive') return false;
    if (live.some(({ place }) => place.admission.mode !== admission.mode)) return false;
    return admission.mode === 'shared' || live.length < admission.permits!;
  }

  /** The line was left as it is by a script, not by the end of a lease: then nobody who may enter sleeps. */
  get settled(): boolean {
    return this.#settled && [...this.inside.values()].every(({ until }) => until > this.now());
  }

  /** What a script would have done died with a process. */
  unsettle(): void {
    this.#settled = false;
  }

  /** Who waits longest. */
  head(): LinePlace | null {
    return this.#head()?.place ?? null;
  }

  #answer({ place, turn }: Holder): Admitted {
    return { admitted: true, token: place.admission.mode === 'exclusive' ? BigInt(turn) : null };
  }

  #putOutTheLate(): void {
    if (!this.rules.putsOut) return;
    for (const [owner, { until }] of this.inside)
      if (until <= this.now()) {
        this.inside.delete(owner);
        this.#settled = false;
      }
  }

  #admit(me: string, leaseTimeMs: number): void {
    let called = false;
    for (let head = this.#head(); head; head = this.#head()) {
      const { place } = head;
      const enters = this.#fits(place);
      if (!enters && (!called || this.call(place, CLAIM_MS))) return;
      this.waiting.delete(place.owner);
      if (!enters) continue; // it was dead, and the next one may fit
      if (place.owner === me) this.#letIn(place, leaseTimeMs);
      else if (this.call(place, 0)) {
        called = true;
        this.#letIn(place, this.rules.claims ? CLAIM_MS : 3_600_000);
      }
    }
  }

  #letIn(place: LinePlace, leaseTimeMs: number): void {
    const turn = Math.max(this.#lastTurn + 1, this.#micros());
    this.#lastTurn = turn;
    for (const name of [BigInt(turn), place.owner]) this.#eras.set(name, this.era);
    this.inside.set(place.owner, { place, turn, until: this.now() + leaseTimeMs });
    this.#settled = true;
    const [first] = [...this.waiting.values()].toSorted((a, b) => a.since - b.since);
    if (first && this.call(first.place, NaN) && !this.#wasAhead(place, first.since))
      this.onViolation(`O1: ${place.owner} overtook ${first.place.owner}`);
  }

  /** A caller that was let in at its turn has no place any more; those left behind it came later. */
  #wasAhead({ owner }: LinePlace, since: number): boolean {
    return (this.#places.get(owner) ?? Infinity) <= since;
  }

  readonly #places = new Map<string, number>();

  #fits(place: LinePlace): boolean {
    const { mode } = place.admission;
    if (mode === 'permit' && !this.rules.countsPermits) return true;
    if (mode === 'shared' && !this.rules.keepsKindsApart) return true;
    if (!this.rules.putsOut && this.inside.size > 0) return this.#fitsBesideAll(place);
    return this.tolerates(place);
  }

  #fitsBesideAll({ admission }: LinePlace): boolean {
    const all = [...this.inside.values()];
    if (admission.mode === 'exclusive') return false;
    if (all.some(({ place }) => place.admission.mode !== admission.mode)) return false;
    return admission.mode === 'shared' || all.length < admission.permits!;
  }

  #head(): { readonly place: LinePlace; readonly since: number } | undefined {
    const [first] = [...this.waiting.values()].toSorted((a, b) => a.since - b.since);
    if (first) this.#places.set(first.place.owner, first.since);
    return first;
  }

  /** As on a real server, two commands never see the same microsecond. */
  #micros(): number {
    this.#ticks += 1;
    return 1_000_000_000 + Math.floor(this.now() * 1_000) + this.#ticks;
  }
}

/** A process's way to the line. */
export class ModelLine extends ModelNetwork implements LineBackend {
  server!: LineServer;
  #line: LineListener | null = null;

  listen(listener: LineListener): void {
    this.#line = listener;
    this.hear({ woken: () => undefined, ready: () => listener.ready() });
  }

  enter(request: EnterRequest): Promise<Admitted | NotYet> {
    return this.send(() => this.server.enter(request));
  }

  renew(held: readonly HeldPlace[]): Promise<readonly boolean[]> {
    return this.send(() => held.map((it) => this.server.stay(it)));
  }

  leave(place: LinePlace): Promise<boolean> {
    return this.send(() => this.server.leave(place));
  }

  /** @param inMs `NaN` only looks whether somebody listens. */
  call(place: LinePlace, inMs: number): boolean {
    if (Number.isNaN(inMs)) return this.isSubscribed;
    return this.deliver(() => this.#line?.called(place, inMs));
  }
}
