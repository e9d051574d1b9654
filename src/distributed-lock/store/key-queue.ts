import { now } from '../distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
  type LossReason,
} from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import type { Busy, PassAnswer, TurnBackend, TurnSession } from './turn-backend.js';
import { type Grant, Turn } from './turn.js';
import { WaitList, type Waiter } from './wait-list.js';

/** What a queue needs from the store it belongs to. */
export interface QueueHost {
  readonly backend: TurnBackend;
  /** Grants per turn before other processes are asked for. */
  readonly maxGrants: number;
  /** Milliseconds per turn before other processes are asked for. */
  readonly maxTurnMs: number;
  newOwner(): string;
  /** Whether an owner id found in the key is one of this process that nobody uses any more. */
  isDead(holder: string): boolean;
  /** Tells the backend, now and until it has heard it, that the owner id is done with. Never rejects. */
  giveBack(key: LockKey, owner: string): Promise<void>;
  /** The queue has nothing to do any more and may be forgotten. */
  idle(queue: KeyQueue): void;
}

/**
 * - `idle`: nobody here wants the key
 * - `asking`: a command that decides who goes next is on its way
 * - `waiting`: another process has the key; a wake-up or the timer ends the wait
 * - `held`: a local caller has the key
 */
type Phase = 'idle' | 'asking' | 'waiting' | 'held';

const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/**
 * The waiting room of one key in this process. Only the queue as a whole contends in the backend, under one owner id at a
 * time; its callers are served first come, first served.
 *
 * An owner id is dead once a give-back was sent for it: a command that is repeated without one keeps the id (the answer is the
 * same turn), after one a new id is used. Otherwise a late give-back could free the key of a live holder.
 */
export class KeyQueue {
  readonly #waiters = new WaitList();
  #phase: Phase = 'idle';
  #owner: string | null = null;
  #grant: Grant | null = null;
  /** A wake-up came while a command was on its way: messages and answers travel on two connections and overtake each other. */
  #woken = false;
  /** Place in the backend's queue, kept when another process was faster. */
  #since: string | null = null;
  #attempt = 0;
  /** A command with the current owner id may have left a trace in the backend: a place in its queue, or the key itself. */
  #traces = false;
  #failures = 0;
  #lastError: LockStoreUnavailableError | null = null;
  /** The backend has answered a command of this queue. */
  #heard = false;
  #timer: NodeJS.Timeout | null = null;
  readonly #whenSettled: (() => void)[] = [];

  constructor(
    readonly key: LockKey,
    private readonly host: QueueHost,
  ) {}

  /** Why nobody can say whether the key is busy; `null` where it is, or was when last asked. */
  get trouble(): string | LockStoreUnavailableError | null {
    if (this.#lastError) return this.#lastError;
    return this.#phase === 'asking' && !this.#heard ? 'it has not answered yet' : null;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  add(waiter: Waiter): void {
    const mustWait = this.#phase === 'held' || this.#phase === 'waiting' || this.#waiters.size > 0;
    if (waiter.request.waitTimeMs === 0 && mustWait) {
      return this.#lastError ? waiter.reject(this.#lastError) : waiter.resolve(null);
    }
    this.#waiters.add(waiter);
    if (this.#phase === 'idle') this.#ask();
  }

  /** The caller gives up. @returns `false` if it had been served already. */
  leave(waiter: Waiter): boolean {
    if (!this.#waiters.remove(waiter)) return false;
    if (this.#waiters.size === 0 && this.#phase === 'waiting') this.#withdraw();
    return true;
  }

  holds(grant: Grant): boolean {
    return this.#grant === grant;
  }

  /** A wake-up from the backend. @returns `false` if nobody here wants the key: somebody else must be told. */
  wake(): boolean {
    if (this.#phase === 'idle') return false;
    if (this.#phase === 'waiting') this.#ask();
    else if (this.#phase === 'asking') this.#woken = true;
    return true;
  }

  /** The current caller is done. @returns whether the key was still held. */
  async release(grant: Grant): Promise<boolean> {
    if (this.#grant !== grant) return false;
    const turn = grant.turn;
    this.#grant = null;
    if (turn.isOver) {
      this.#drop(turn);
      return false;
    }
    const next = this.#waiters.first;
    if (!next) return this.#giveBack(turn);
    if (turn.mayGoOn(this.host.maxGrants, this.host.maxTurnMs)) return this.#serve(turn, next);
    return this.#pass(turn, next);
  }

  /** The backend does not honour the turn any more. */
  lose(grant: Grant, reason: LossReason): void {
    if (this.#grant !== grant) return;
    this.#grant = null;
    this.#endTurn();
    grant.onLost?.(reason);
    this.#goOn();
  }

  /** What carried the turn is gone; a turn of a later session is not meant. */
  sessionEnded(session: TurnSession): void {
    if (this.#grant?.turn.session === session) this.lose(this.#grant, 'session-ended');
  }

  /** Forgets the turn without telling the backend. */
  abandon(grant: Grant): void {
    if (this.#grant !== grant) return;
    this.#grant = null;
    this.#endTurn();
    this.#goOn();
  }

  /** The store closes: ends the turn, whoever is inside. */
  giveUp(): void {
    const grant = this.#grant;
    if (!grant) return;
    this.#grant = null;
    this.#drop(grant.turn);
    grant.onLost?.('closed');
  }

  /** Resolves when no command is under way that could bring the key. */
  settled(): Promise<void> {
    if (this.#phase !== 'asking') return Promise.resolve();
    return new Promise((resolve) => this.#whenSettled.push(resolve));
  }

  /** Turns every waiter away. */
  rejectAll(error: Error): void {
    for (const waiter of this.#waiters.snapshot()) {
      this.#waiters.remove(waiter);
      waiter.reject(error);
    }
    if (this.#phase === 'waiting') this.#withdraw();
  }

  #ask(): void {
    this.#setPhase('asking');
    this.#woken = false;
    void this.#take();
  }

  async #take(): Promise<void> {
    const first = this.#waiters.first!;
    const owner = (this.#owner ??= this.host.newOwner());
    const { leaseTimeMs, waitTimeMs } = first.request;
    const wait = waitTimeMs > 0 || this.#waiters.size > 1;
    if (wait) this.#traces = true;
    const sentAt = now();
    try {
      const answer = await this.host.backend.take({
        key: this.key,
        owner,
        leaseTimeMs,
        wait,
        more: this.#waiters.size > 1,
        since: this.#since,
        attempt: this.#attempt,
      });
      this.#answered();
      if (answer.granted)
        this.#granted(
          new Turn(this.key, owner, leaseTimeMs, sentAt, answer.tokens, answer.session),
        );
      else this.#busy(answer, wait);
    } catch (error) {
      this.#failed(error);
    }
  }

  #granted(turn: Turn): void {
    this.#since = null;
    this.#attempt = 0;
    const next = this.#waiters.first;
    if (!next || turn.isOver) {
      // Nobody left to have it, or the answer came after the lease it grants: never used, given back.
      this.#drop(turn);
      return;
    }
    void this.#serve(turn, next);
  }

  /** @param queued whether the process asked for a place; a single try does not, and callers may have joined it since. */
  #busy(answer: Busy, queued: boolean): void {
    this.#since = answer.since;
    this.#attempt += 1;
    this.#turnAwayTries();
    if (answer.holder !== null && this.host.isDead(answer.holder)) {
      // A stray copy of an old command took the key for an owner that no longer exists.
      void this.host.giveBack(this.key, answer.holder);
      this.#woken = true;
    }
    if (this.#waiters.size === 0) this.#withdraw();
    else if (this.#woken || !queued) this.#ask();
    else this.#wait(answer.retryInMs);
  }

  /** Another process has the key: callers that only try have had their answer. */
  #turnAwayTries(): void {
    for (
      let waiter = this.#waiters.first;
      waiter?.request.waitTimeMs === 0;
      waiter = this.#waiters.first
    ) {
      this.#waiters.remove(waiter);
      waiter.resolve(null);
    }
  }

  /** Gives the turn to a local caller, with a renewal first where too little lease is left for it. */
  async #serve(turn: Turn, next: Waiter): Promise<boolean> {
    const { leaseTimeMs } = next.request;
    if (!turn.covers(leaseTimeMs)) {
      this.#setPhase('asking');
      if (!(await this.#prolong(turn, leaseTimeMs))) return true;
    }
    const caller = this.#waiters.first;
    if (!caller) {
      // Nobody is left to be told if the backend does not hear it: told in the background.
      this.#drop(turn);
      return true;
    }
    this.#waiters.remove(caller);
    this.#setPhase('held');
    this.#grant = turn.grant();
    caller.resolve(this.#grant);
    return true;
  }

  async #prolong(turn: Turn, leaseTimeMs: number): Promise<boolean> {
    const sentAt = now();
    try {
      const [held] = await this.host.backend.renew([{ ...turn.ref, leaseTimeMs }]);
      this.#answered();
      if (held) turn.prolong(leaseTimeMs, sentAt);
      if (held && !turn.isOver) return true;
      this.#drop(turn);
    } catch (error) {
      this.#endTurnAfter(turn, error);
    }
    return false;
  }

  /** Asks whether another process waits; else the turn goes on. */
  async #pass(turn: Turn, next: Waiter): Promise<boolean> {
    this.#setPhase('asking');
    this.#woken = false;
    const { leaseTimeMs } = next.request;
    const sentAt = now();
    try {
      const answer = await this.host.backend.pass({ ...turn.ref, leaseTimeMs });
      this.#answered();
      return this.#passed(turn, answer, leaseTimeMs, sentAt);
    } catch (error) {
      this.#endTurnAfter(turn, error);
      throw error;
    }
  }

  #passed(turn: Turn, answer: PassAnswer, leaseTimeMs: number, sentAt: number): boolean {
    if (answer.outcome === 'continues') {
      turn.restart(leaseTimeMs, sentAt, answer.tokens);
      this.#granted(turn);
      return true;
    }
    this.#endTurn();
    if (answer.outcome === 'lost') {
      this.#goOn();
      return false;
    }
    this.#since = answer.since;
    this.#traces = true;
    this.#turnAwayTries();
    if (this.#waiters.size === 0) this.#withdraw();
    else if (this.#woken) this.#ask();
    else this.#wait(answer.retryInMs);
    return true;
  }

  /** Nobody here waits: the key goes to another process, or is free. A caller that comes now asks at once, behind this command. */
  async #giveBack(turn: Turn): Promise<boolean> {
    this.#endTurn();
    this.#setPhase('idle');
    try {
      const { held } = await this.host.backend.giveBack(turn.ref, false);
      return held;
    } catch (error) {
      void this.host.giveBack(this.key, turn.owner);
      throw error;
    } finally {
      this.#forgetIfIdle();
    }
  }

  /** The turn is over for this process, whatever the backend believes: says so, and goes on under a new owner id. */
  #drop(turn: Turn): void {
    this.#endTurn();
    void this.host.giveBack(this.key, turn.owner);
    this.#goOn();
  }

  #endTurnAfter(turn: Turn, error: unknown): void {
    this.#endTurn();
    void this.host.giveBack(this.key, turn.owner);
    this.#failed(error);
  }

  #endTurn(): void {
    this.#forgetOwner();
  }

  #forgetOwner(): string {
    const owner = this.#owner ?? '';
    this.#owner = null;
    this.#traces = false;
    return owner;
  }

  /** After a turn that ended badly: whoever waits asks again, under a new owner id. */
  #goOn(): void {
    if (this.#waiters.size > 0) return this.#ask();
    this.#setPhase('idle');
    this.#forgetIfIdle();
  }

  /** The last waiter left: takes the process out of the backend's queue and passes a wake-up on that it may have consumed. */
  #withdraw(): void {
    const mustTell = this.#traces || this.#woken;
    const owner = this.#forgetOwner();
    this.#since = null;
    this.#attempt = 0;
    this.#setPhase('idle');
    if (mustTell) void this.host.giveBack(this.key, owner);
    this.#forgetIfIdle();
  }

  #failed(error: unknown): void {
    if (!(error instanceof LockStoreUnavailableError)) {
      this.#traces = true;
      this.rejectAll(error instanceof Error ? error : new LockConfigurationError(String(error)));
      return this.#withdraw();
    }
    this.#traces = true;
    this.#lastError = error;
    this.#failures += 1;
    for (const waiter of this.#waiters.snapshot()) {
      if (waiter.request.waitTimeMs === 0 && this.#waiters.remove(waiter)) waiter.reject(error);
    }
    if (this.#waiters.size === 0) return this.#withdraw();
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** (this.#failures - 1), LONGEST_BACKOFF_MS);
    this.#wait(backoff * (0.75 + Math.random() / 2));
  }

  #answered(): void {
    this.#heard = true;
    this.#lastError = null;
    this.#failures = 0;
  }

  #wait(ms: number): void {
    this.#setPhase('waiting');
    this.#timer = setTimeout(() => this.#ask(), ms);
    this.#timer.unref();
  }

  #setPhase(phase: Phase): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#phase = phase;
    if (phase !== 'asking') for (const resolve of this.#whenSettled.splice(0)) resolve();
  }

  #forgetIfIdle(): void {
    if (this.#phase === 'idle' && this.#waiters.size === 0) this.host.idle(this);
  }
}
