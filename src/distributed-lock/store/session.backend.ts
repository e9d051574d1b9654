import { LockConfigurationError, LockStoreUnavailableError } from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import { CommandLane } from './command-lane.js';
import type { LockSession } from './lock-session.js';
import type { StoreTraits } from './lock-store.js';
import { SessionHolds } from './session-holds.js';
import { type SessionKind, SessionKeeper } from './session-keeper.js';
import type { SessionLink, TakeRow } from './session-link.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
} from './turn-backend.js';

/** What differs between servers in waiting. */
export interface SessionPauses {
  /** Until the next look at a key that another session has, in milliseconds. */
  busy(marked: boolean, attempt: number): number;
  /** Until the first look after the key was passed to another process, in milliseconds. */
  passed(): number;
}

/** Each turn owns the thousand tokens that follow from its number. */
const TOKENS_PER_TURN = 1_000n;

interface Take {
  readonly kind: 'take';
  readonly key: LockKey;
  readonly request: TakeRequest;
  readonly resolve: (answer: Granted | Busy) => void;
  readonly reject: (error: unknown) => void;
}

interface Pass {
  readonly kind: 'pass';
  readonly key: LockKey;
  readonly turn: TurnRef;
  readonly resolve: (answer: PassAnswer) => void;
  readonly reject: (error: unknown) => void;
}

interface GiveBack {
  readonly kind: 'giveBack';
  readonly key: LockKey;
  readonly turn: TurnRef;
  readonly more: boolean;
  readonly resolve: (answer: GiveBackAnswer) => void;
  readonly reject: (error: unknown) => void;
}

type Command = Take | Pass | GiveBack;

/** Locks that live as long as a connection: one connection for all holds and all waiters of this process. */
export class SessionBackend<Link extends SessionLink> implements TurnBackend {
  readonly #keeper: SessionKeeper<Link>;
  readonly #lane = new CommandLane<Command>((batch) => this.#send(batch));
  #holds: SessionHolds | null = null;
  #listener: BackendListener | null = null;

  constructor(
    readonly traits: StoreTraits,
    private readonly kind: SessionKind<Link>,
    private readonly pauses: SessionPauses,
  ) {
    this.#keeper = new SessionKeeper(kind, {
      started: (session) => {
        this.#holds = new SessionHolds(session.link);
        this.#listener?.ready();
      },
      ended: (session) => {
        this.#holds = null;
        this.#listener?.sessionEnded(session);
      },
      woken: (_session, lock) => this.#wake(lock),
    });
  }

  open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    this.#listener = listener;
    return this.#keeper.open(namespace, timeoutMs);
  }

  take(request: TakeRequest): Promise<Granted | Busy> {
    return new Promise((resolve, reject) => {
      this.#lane.push({ kind: 'take', key: request.key, request, resolve, reject });
    });
  }

  pass(turn: HeldTurn): Promise<PassAnswer> {
    return new Promise((resolve, reject) => {
      this.#lane.push({ kind: 'pass', key: turn.key, turn, resolve, reject });
    });
  }

  /** One statement, however many turns: the session carries them all, or none. */
  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const { session, holds } = this.#current();
    try {
      await session.confirm();
    } catch (error) {
      throw this.#error(error, null);
    }
    return turns.map((turn) => this.#holds === holds && holds.isHeldBy(turn));
  }

  giveBack(turn: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    return new Promise((resolve, reject) => {
      this.#lane.push({ kind: 'giveBack', key: turn.key, turn, more, resolve, reject });
    });
  }

  async close(): Promise<void> {
    await this.#keeper.close();
    this.#holds = null;
  }

  async #send(batch: readonly [Command, ...Command[]]): Promise<void> {
    try {
      if (batch[0].kind === 'take') await this.#sendTakes(batch as readonly Take[]);
      else if (batch[0].kind === 'pass')
        for (const pass of batch as readonly Pass[]) await this.#sendPass(pass);
      else await this.#sendGiveBacks(batch as readonly GiveBack[]);
    } catch (error) {
      for (const command of batch) command.reject(this.#error(error, command.key));
    }
  }

  async #sendTakes(takes: readonly Take[]): Promise<void> {
    const { session, holds } = this.#current();
    const asked: { take: Take; row: TakeRow }[] = [];
    const locks = new Set<string>();
    for (const take of takes) {
      const { key, wait } = take.request;
      const id = holds.idOf(key);
      const marked = holds.isMarked(id);
      const holder = holds.holderOf(id);
      if (holder || locks.has(id.lock)) {
        // Of this very process: the server would let it in a second time.
        if (wait) holds.waits(id, key);
        const owner = holder?.key === key ? holder.owner : null;
        take.resolve(this.#busy(true, take.request.attempt, owner)); // woken by its own process
      } else {
        locks.add(id.lock);
        asked.push({ take, row: { id, key, wait, marked } });
      }
    }
    if (asked.length === 0) return;
    const outcomes = await session.run((link) => link.take(asked.map(({ row }) => row)));
    for (const [index, { take, row }] of asked.entries()) {
      const { turn, marked } = outcomes[index]!;
      holds.mark(row.id, marked);
      const { owner, more, attempt } = take.request;
      if (turn === null ? row.wait : more) holds.waits(row.id, row.key);
      else holds.waitsNoMore(row.id, row.key);
      if (turn === null) {
        take.resolve(this.#busy(marked, attempt, null));
        continue;
      }
      holds.hold(row.id, { key: row.key, owner });
      take.resolve({ granted: true, tokens: tokensOf(turn), session });
    }
  }

  async #sendPass({ turn: { key, owner }, resolve }: Pass): Promise<void> {
    const { session, holds } = this.#current();
    if (!holds.isHeldBy({ key, owner })) return resolve({ outcome: 'lost' });
    const id = holds.idOf(key);
    const others = holds.waitingFor(id.lock).filter((other) => other !== key);
    const row = { id, key, marked: holds.isMarked(id), mustPass: others.length > 0 };
    const { turn, marked } = await session.run((link) => link.pass(row));
    holds.mark(id, marked);
    if (turn !== null) return resolve({ outcome: 'continues', tokens: tokensOf(turn) });
    holds.free(id);
    holds.waits(id, key);
    resolve({ outcome: 'passed', retryInMs: this.pauses.passed(), since: null });
    for (const other of others) this.#listener?.woken(other);
  }

  async #sendGiveBacks(commands: readonly GiveBack[]): Promise<void> {
    // Without a session nothing is held, and no place is kept.
    const session = this.#keeper.session;
    const holds = this.#holds;
    const asked = commands.map((command) => {
      const { turn, more } = command;
      const id = holds?.idOf(turn.key) ?? { lock: '', wait: '' };
      const unlock = holds?.isHeldBy(turn) ?? false;
      const last = !more && (holds?.waitsNoMore(id, turn.key) ?? false);
      return { command, row: { id, unlock, unmark: last && (holds?.isMarked(id) ?? false) } };
    });
    const needed = asked.filter(({ row }) => row.unlock || row.unmark);
    const outcomes =
      needed.length > 0 && session
        ? await session.run((link) => link.giveBack(needed.map(({ row }) => row)))
        : [];
    const freed: string[] = [];
    for (const { command, row } of asked) {
      const outcome = outcomes[needed.findIndex((it) => it.row === row)];
      if (row.unlock) {
        holds?.free(row.id);
        freed.push(row.id.lock);
      }
      if (row.unmark) holds?.mark(row.id, false);
      command.resolve(outcome ?? { held: false, woke: false });
    }
    for (const lock of freed) this.#wake(lock);
  }

  #wake(lock: string): void {
    for (const key of this.#holds?.waitingFor(lock) ?? []) this.#listener?.woken(key);
  }

  #busy(marked: boolean, attempt: number, holder: string | null): Busy {
    return {
      granted: false,
      retryInMs: this.pauses.busy(marked, attempt + 1),
      since: null,
      holder,
    };
  }

  #current(): { session: LockSession<Link>; holds: SessionHolds } {
    const { session } = this.#keeper;
    if (session && this.#holds) return { session, holds: this.#holds };
    throw this.#keeper.failure;
  }

  /** Errors name the key of the call, also those that concern the whole session. */
  #error(error: unknown, key: LockKey | null): Error {
    const known = this.kind.toError(error);
    if (known instanceof LockConfigurationError || key === null) return known;
    return new LockStoreUnavailableError(this.traits.name, key, known.detail, { cause: known });
  }
}

function tokensOf(turn: bigint): TokenBlock {
  return { first: turn * TOKENS_PER_TURN, size: Number(TOKENS_PER_TURN) };
}
