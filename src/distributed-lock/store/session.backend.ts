import type { LockKey } from '../key/lock-key.js';
import type { Waiting } from './local-line.js';
import type { KeyState, StoreTraits } from './lock-store.js';
import { type OpenSession, SessionDesk } from './session-desk.js';
import type { SessionHolds } from './session-holds.js';
import type { SessionKind } from './session-keeper.js';
import type { GiveBackRow, TakeOutcome, TakeRow } from './session-link.js';
import { type OperatedLink, SessionOperator } from './session.operator.js';
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

/** So many looks in a row a turn lets those go first who waited to share before it came. One of them may be frozen. */
const POLITE_LOOKS = 3;

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

/** Locks that live as long as a connection: one connection for all holds and all waiters of this process. */
export class SessionBackend<Link extends OperatedLink> implements TurnBackend {
  readonly desk: SessionDesk<Link>;
  readonly #operator: SessionOperator<Link>;
  #listener: BackendListener | null = null;

  constructor(
    readonly traits: StoreTraits,
    kind: SessionKind<Link>,
    private readonly pauses: SessionPauses,
  ) {
    this.desk = new SessionDesk(kind);
    this.#operator = new SessionOperator(this.desk);
    this.desk.listen({
      ready: () => this.#listener?.ready(),
      sessionEnded: (session) => this.#listener?.sessionEnded(session),
      woken: (lock, except) => {
        for (const key of this.desk.open?.holds.line.turns(lock) ?? [])
          if (key !== except) this.#listener?.woken(key);
      },
    });
    this.desk.serve<Take>('take', (batch) => this.#sendTakes(batch));
    this.desk.serve<Pass>('pass', async (batch) => {
      for (const pass of batch) await this.#sendPass(pass);
    });
    this.desk.serve<GiveBack>('giveBack', (batch) => this.#sendGiveBacks(batch));
  }

  open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    this.#listener = listener;
    return this.desk.connect(namespace, timeoutMs);
  }

  take(request: TakeRequest): Promise<Granted | Busy> {
    return new Promise((resolve, reject) => {
      this.desk.push({ kind: 'take', key: request.key, request, resolve, reject } as Take);
    });
  }

  pass(turn: HeldTurn): Promise<PassAnswer> {
    return new Promise((resolve, reject) => {
      this.desk.push({ kind: 'pass', key: turn.key, turn, resolve, reject } as Pass);
    });
  }

  /** One statement, however many turns: the session carries them all, or none. */
  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const { session, holds } = this.desk.current;
    try {
      await session.confirm();
    } catch (error) {
      throw this.desk.error(error, null);
    }
    return turns.map((turn) => this.desk.open?.holds === holds && holds.isHeldBy(turn));
  }

  giveBack(turn: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    return new Promise((resolve, reject) => {
      this.desk.push({ kind: 'giveBack', key: turn.key, turn, more, resolve, reject } as GiveBack);
    });
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return this.#operator.stateOf(key);
  }

  forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    return this.#operator.forceRelease(key);
  }

  close(): Promise<void> {
    return this.desk.close();
  }

  async #sendTakes(takes: readonly Take[]): Promise<void> {
    const { session, holds } = this.desk.current;
    const asked: { take: Take; row: TakeRow }[] = [];
    const locks = new Set<string>();
    for (const take of takes) {
      const row = takeRow(take.request, holds);
      const { lock } = row.id;
      if (isInTheWay(holds, row) || locks.has(lock)) {
        // Somebody of this very process, whom the server would not mind, and who wakes.
        if (row.wait) holds.line.join(lock, turnOf(row.key));
        take.resolve(this.#busy(true, take.request.attempt, ownerOf(holds, row)));
      } else {
        locks.add(lock);
        asked.push({ take, row });
      }
    }
    if (asked.length === 0) return;
    const rows = asked.map(({ row }) => row);
    // In the line before they ask: a wake-up may come before the answer that says "busy".
    const joined = rows.filter(
      ({ id, key, wait }) => wait && holds.line.join(id.lock, turnOf(key)),
    );
    const outcomes = await session
      .run((link) => link.take(rows))
      .catch((error: unknown) => {
        // Undone with the rest.
        for (const { id } of rows) holds.mark(id, 'gate', false);
        for (const { id, key } of joined) holds.line.leave(id.lock, turnOf(key));
        throw error;
      });
    for (const [index, { take, row }] of asked.entries())
      this.#taken(take, row, outcomes[index]!, { session, holds });
  }

  #taken(
    { request, resolve }: Take,
    { id, key, wait }: TakeRow,
    { turn, marked, gated = false, again = false }: TakeOutcome,
    { session, holds }: OpenSession<Link>,
  ): void {
    const { owner, more, attempt } = request;
    holds.mark(id, 'wait', marked);
    holds.mark(id, 'gate', gated);
    if (turn === null ? !wait : !more) holds.line.leave(id.lock, turnOf(key));
    else if (turn !== null) holds.line.joinAnew(id.lock, turnOf(key));
    if (turn === null) return resolve(this.#busy(marked && !again, attempt, null));
    holds.hold(id, { key, owner });
    resolve({ granted: true, tokens: tokensOf(turn), session });
  }

  async #sendPass({ turn: { key, owner }, resolve }: Pass): Promise<void> {
    const { session, holds } = this.desk.current;
    if (!holds.isHeldBy({ key, owner })) return resolve({ outcome: 'lost' });
    const id = holds.idOf(key);
    const { lock } = id;
    const mustPass =
      holds.line.sharers(lock).length > 0 || holds.line.turns(lock).some((other) => other !== key);
    const row = { id, key, marked: holds.isMarked(id, 'wait'), mustPass };
    const { turn, marked } = await session.run((link) => link.pass(row));
    holds.mark(id, 'wait', marked);
    if (turn !== null) return resolve({ outcome: 'continues', tokens: tokensOf(turn) });
    holds.free(id);
    holds.line.joinAnew(lock, turnOf(key));
    resolve({ outcome: 'passed', retryInMs: this.pauses.passed(), since: null });
    this.desk.wake(lock, key);
  }

  async #sendGiveBacks(commands: readonly GiveBack[]): Promise<void> {
    const { open } = this.desk;
    if (!open) {
      for (const command of commands) command.resolve({ held: false, woke: false });
      return;
    }
    const { session, holds } = open;
    const asked = commands.map((command) => ({ command, row: giveBackRow(command, holds) }));
    const needed = asked.filter(({ row }) => row.unlock || row.unmark || row.openGate);
    const outcomes =
      needed.length > 0
        ? await session.run((link) => link.giveBack(needed.map(({ row }) => row)))
        : [];
    for (const { command, row } of asked) {
      const outcome = outcomes[needed.findIndex((it) => it.row === row)];
      if (row.unlock) holds.free(row.id);
      if (row.unmark) holds.mark(row.id, 'wait', false);
      if (row.openGate) holds.mark(row.id, 'gate', false);
      command.resolve(outcome ?? { held: false, woke: false });
    }
    for (const { command, row } of asked)
      if (row.unlock || !command.more) this.desk.wake(row.id.lock);
  }

  #busy(marked: boolean, attempt: number, holder: string | null): Busy {
    return {
      granted: false,
      retryInMs: this.pauses.busy(marked, attempt + 1),
      since: null,
      holder,
    };
  }
}

const turnOf = (key: LockKey): Waiting => ({ key, place: null });

function takeRow({ key, wait, attempt }: TakeRequest, holds: SessionHolds): TakeRow {
  const id = holds.idOf(key);
  return {
    id,
    key,
    wait,
    marked: holds.isMarked(id, 'wait'),
    shared: holds.sharing(id) > 0,
    gated: holds.isMarked(id, 'gate'),
    polite: attempt < POLITE_LOOKS,
  };
}

/** Whether the server need not be asked. */
function isInTheWay(
  holds: SessionHolds,
  { id, key, wait, marked, shared, gated }: TakeRow,
): boolean {
  if (holds.holderOf(id) || holds.line.isBehindOthers(id.lock, turnOf(key))) return true;
  return shared && (!wait || (marked && gated));
}

function ownerOf(holds: SessionHolds, { id, key }: TakeRow): string | null {
  const holder = holds.holderOf(id);
  return holder?.key === key ? holder.owner : null;
}

/** Takes the turn out of the line, or, where more callers wait for it, behind those who have waited for it to end. */
function giveBackRow({ turn, more }: GiveBack, holds: SessionHolds): GiveBackRow {
  const id = holds.idOf(turn.key);
  const unlock = holds.isHeldBy(turn);
  if (!more) holds.line.leave(id.lock, turnOf(turn.key));
  else if (unlock) holds.line.joinAnew(id.lock, turnOf(turn.key));
  return {
    id,
    unlock,
    shared: false,
    unmark: holds.isMarked(id, 'wait') && holds.line.isEmpty(id.lock),
    unmarkShare: false,
    openGate: holds.isMarked(id, 'gate') && holds.line.turns(id.lock).length === 0,
  };
}

function tokensOf(turn: bigint): TokenBlock {
  return { first: turn * TOKENS_PER_TURN, size: Number(TOKENS_PER_TURN) };
}
