import { LockStoreUnavailableError } from '../../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant } from '../../../src/distributed-lock/store/lock-store.js';
import {
  QueueingLockStore,
  type TurnBounds,
} from '../../../src/distributed-lock/store/queueing.lock-store.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  Offer,
  PassAnswer,
  TakeRequest,
  TurnBackend,
  TurnRef,
} from '../../../src/distributed-lock/store/turn-backend.js';
import { TRAITS } from './model-network.js';
import { KEY } from './model-server.js';
import { settle, VirtualTime } from './virtual-time.js';

interface Answers {
  take: Granted | Busy;
  pass: PassAnswer;
  renew: readonly boolean[];
  giveBack: GiveBackAnswer;
}

/** One command the store has sent; the test answers it when it wants. */
export class Sent<Name extends keyof Answers = keyof Answers> {
  answered = false;
  resolve!: (answer: Answers[Name]) => void;
  reject!: (error: Error) => void;

  constructor(
    readonly name: Name,
    readonly owner: string,
    /** Of `take`. */
    readonly request: TakeRequest | null,
    /** Of `giveBack`. */
    readonly more: boolean | null,
    /** Of `pass` and `renew`. */
    readonly turn: HeldTurn | null,
  ) {}

  async answer(answer: Answers[Name]): Promise<void> {
    this.answered = true;
    this.resolve(answer);
    await settle();
  }

  async fail(error: Error = unavailable()): Promise<void> {
    this.answered = true;
    this.reject(error);
    await settle();
  }
}

export const unavailable = (detail = 'the connection was lost'): Error =>
  new LockStoreUnavailableError('model', KEY, detail);

/** Records every command; nothing is answered by itself. */
export class ScriptedBackend implements TurnBackend {
  readonly traits = TRAITS;
  readonly sent: Sent[] = [];
  listener!: BackendListener;
  closed = false;

  async open(_namespace: string, _timeoutMs: number, listener: BackendListener): Promise<void> {
    this.listener = listener;
  }

  take(request: TakeRequest): Promise<Granted | Busy> {
    return this.#record(new Sent('take', request.owner, request, null, null));
  }

  pass(turn: HeldTurn): Promise<PassAnswer> {
    return this.#record(new Sent('pass', turn.owner, null, null, turn));
  }

  renew([turn]: readonly HeldTurn[]): Promise<readonly boolean[]> {
    return this.#record(new Sent('renew', turn!.owner, null, null, turn!));
  }

  giveBack({ owner }: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    return this.#record(new Sent('giveBack', owner, null, more, null));
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** The oldest command without an answer. @throws {Error} if it is not of this name, or there is none. */
  next<Name extends keyof Answers>(name: Name): Sent<Name> {
    const command = this.#unanswered[0];
    if (command?.name !== name)
      throw new Error(`expected ${name}, got ${command?.name ?? 'nothing'}`);
    // The name tells which answers fit; TypeScript cannot follow it through the list.
    return command as unknown as Sent<Name>;
  }

  /** Names of the commands without an answer, in order. */
  get unanswered(): readonly string[] {
    return this.#unanswered.map(({ name }) => name);
  }

  get #unanswered(): readonly Sent[] {
    return this.sent.filter(({ answered }) => !answered);
  }

  #record<Name extends keyof Answers>(command: Sent<Name>): Promise<Answers[Name]> {
    this.sent.push(command as unknown as Sent);
    return new Promise((resolve, reject) => Object.assign(command, { resolve, reject }));
  }
}

/** What became of a call of `acquire`. */
export class Call {
  grant: LockGrant | null | undefined;
  error: unknown;

  constructor(readonly promise: Promise<LockGrant | null>) {
    promise.then(
      (grant) => (this.grant = grant),
      (error: unknown) => (this.error = error),
    );
  }

  get isPending(): boolean {
    return this.grant === undefined && this.error === undefined;
  }
}

/** A store whose backend is played by the test, on a clock of its own. */
export class Stage {
  readonly time = new VirtualTime();
  readonly backend = new ScriptedBackend();
  readonly store: QueueingLockStore;

  constructor(bounds: TurnBounds = {}) {
    this.store = new QueueingLockStore(this.backend, 'me', bounds);
    void this.store.open('model', 1_000);
  }

  /** @param waitTimeMs `0` only tries. */
  async call(waitTimeMs = 60_000, leaseTimeMs = 30_000, signal?: AbortSignal): Promise<Call> {
    const request = { key: KEY, waitTimeMs, leaseTimeMs, ...(signal && { signal }) };
    const call = new Call(this.store.acquire(request));
    await settle();
    return call;
  }

  /** A call that has the key. */
  async holder(leaseTimeMs = 30_000): Promise<LockGrant> {
    const call = await this.call(60_000, leaseTimeMs);
    await this.backend.next('take').answer(granted());
    return call.grant!;
  }

  async wake(offer: Offer | null = null): Promise<void> {
    this.backend.listener.woken(KEY, offer);
    await settle();
  }
}

export const granted = (first = 1_000n, size = 1_000): Granted => ({
  granted: true,
  tokens: { first, size },
});

export const busy = (answer: Partial<Busy> = {}): Busy => ({
  granted: false,
  retryInMs: 5_000,
  since: null,
  holder: null,
  ...answer,
});

export const gone: GiveBackAnswer = { held: false, woke: false };
export const freed: GiveBackAnswer = { held: true, woke: false };
