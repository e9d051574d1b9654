import type { LockKey } from '../../key/lock-key.js';
import type {
  Admitted,
  EnterRequest,
  HeldPlace,
  LineBackend,
  LineListener,
  LinePlace,
  NotYet,
} from '../line-backend.js';
import type { Admission } from '../lock-store.js';
import type { TokenBlock, TurnRef } from '../turn-backend.js';
import type { RedisLink } from './redis.link.js';

/** What the line shares with the turns of the same store. */
export interface TurnSide {
  /** Highest turn number seen. */
  seen(): string;
  tokens(turn: string): TokenBlock;
  /** The turn that a token is of. */
  numberOf(token: bigint): string;
  /** @throws {LockStoreUnavailableError} if too few replicas have what was written. */
  replicated(key: LockKey): Promise<void>;
  /** @param pttlMs when the key is free at the latest, as PTTL answers it. */
  lookAgainIn(pttlMs: number, attempt: number): number;
}

const PLACES_PER_RENEWAL = 500;

/** The commands of the line, on one Redis. */
export class RedisLine implements LineBackend {
  #listener: LineListener | null = null;

  constructor(
    private readonly link: RedisLink,
    /** Whoever is let in is told. */
    private readonly calls: boolean,
    private readonly claimMs: number,
    private readonly turns: TurnSide,
  ) {}

  listen(listener: LineListener): void {
    this.#listener = listener;
  }

  async enter(request: EnterRequest): Promise<Admitted | NotYet> {
    const { place, leaseTimeMs, wait, since, attempt } = request;
    const { lock, waiting } = this.link.keyspace.of(place.key);
    if (wait) this.link.checkInbox();
    const args = [Math.ceil(leaseTimeMs), wait ? '1' : '0', since ?? '0', this.turns.seen()];
    const reply = await this.link.send(place.key, (commands) =>
      commands.lineEnter(lock, waiting, ...nameOf(place), ...args, ...this.#calling(place.key)),
    );
    const [inside, turnOrTtl, holder, waitsSince] = reply as [number, string, string?, string?];
    if (inside === 1) {
      await this.turns.replicated(place.key);
      return {
        admitted: true,
        token: turnOrTtl === '' ? null : this.turns.tokens(turnOrTtl).first,
      };
    }
    return {
      admitted: false,
      retryInMs: this.turns.lookAgainIn(Number(turnOrTtl), attempt),
      since: waitsSince === undefined || waitsSince === '0' ? null : waitsSince,
      holder: holder ?? null,
    };
  }

  async renew(held: readonly HeldPlace[]): Promise<readonly boolean[]> {
    const batches: Promise<boolean[]>[] = [];
    // In a Cluster the keys of a script share a slot, and two locks hardly ever do.
    const size = this.link.isCluster ? 1 : PLACES_PER_RENEWAL;
    for (let from = 0; from < held.length; from += size) {
      batches.push(this.#renewBatch(held.slice(from, from + size)));
    }
    return (await Promise.all(batches)).flat();
  }

  async leave(place: LinePlace): Promise<boolean> {
    const { lock, waiting } = this.link.keyspace.of(place.key);
    const reply = await this.link.send(place.key, (commands) =>
      commands.lineLeave(lock, waiting, ...nameOf(place), ...this.#calling(place.key)),
    );
    return reply === 1;
  }

  /** A message as `scripts/shared.lua` sends it. */
  called(message: string): void {
    const [inMs, member, key] = split(message);
    const place = placeOf(member, key as LockKey);
    if (place) this.#listener?.called(place, Number(inMs));
  }

  evicted(hold: TurnRef): void {
    this.#listener?.evicted(hold);
  }

  ready(): void {
    this.#listener?.ready();
  }

  async #renewBatch(held: readonly HeldPlace[]): Promise<boolean[]> {
    const keys = held.flatMap(({ place }) => {
      const names = this.link.keyspace.of(place.key);
      return [names.lock, names.held];
    });
    const args = held.flatMap(({ place, token, leaseTimeMs }) => [
      token === null
        ? `q:${kindOf(place.admission)}`
        : `${this.turns.numberOf(token)}:${place.owner}`,
      place.owner,
      Math.ceil(leaseTimeMs),
    ]);
    const reply = await this.link.renew((renewals) =>
      renewals.lineStay(keys.length, ...keys, ...args),
    );
    return (reply as number[]).map((answer) => answer === 1);
  }

  #calling(key: LockKey): readonly (string | number)[] {
    const inbox = this.calls ? this.link.keyspace.inbox : '';
    return [inbox, key, this.link.isCluster ? '0' : '1', Math.ceil(this.claimMs)];
  }
}

const KINDS = { exclusive: 'x', shared: 's', permit: 'p' } as const;

const kindOf = ({ mode }: Admission): string => KINDS[mode];

/** Kind, limit and owner: the arguments that name a place. */
function nameOf({ admission, owner }: LinePlace): readonly [string, string, string] {
  return [kindOf(admission), String(admission.permits ?? ''), owner];
}

/** The place that a member of the waiting set stands for; `null` for a text that is none. */
function placeOf(member: string, key: LockKey): LinePlace | null {
  const [, kind, limit, owner] = /^([xsp])(\d*):(.+)$/.exec(member) ?? [];
  const mode = (Object.keys(KINDS) as (keyof typeof KINDS)[]).find((it) => KINDS[it] === kind);
  if (mode === undefined || owner === undefined) return null;
  const permits = limit === '' ? {} : { permits: Number(limit) };
  return { key, owner, admission: { mode, ...permits, fair: true } };
}

/** Three parts; only the last may have spaces. */
function split(message: string): [string, string, string] {
  const first = message.indexOf(' ');
  const second = message.indexOf(' ', first + 1);
  return [message.slice(0, first), message.slice(first + 1, second), message.slice(second + 1)];
}
