import { now } from '../distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
  type LossReason,
} from '../distributed-lock.errors.js';
import type { LockKey } from '../key/lock-key.js';
import { confirmOffer } from './offer-confirmation.js';
import type { ReleaseResult } from './lock-store.js';
import type { QueueHost } from './queue-host.js';
import { QueuePhase } from './queue-phase.js';
import type { Busy, Granted, Offer, PassAnswer, TakeRequest, TurnSession } from './turn-backend.js';
import { Standing } from './standing.js';
import { type Grant, Turn } from './turn.js';
import { WaitList, type Waiter } from './wait-list.js';

const RELEASED: Promise<ReleaseResult> = Promise.resolve('released');
const NOT_HELD: Promise<ReleaseResult> = Promise.resolve('not-held');

/**
 * The waiting room of one key in this process. Only the queue as a whole contends in the backend, under one owner id at a
 * time; its callers are served first come, first served.
 */
export class KeyQueue {
  readonly #waiters = new WaitList();
  readonly #phase = new QueuePhase();
  #grant: Grant | null = null;

  readonly #standing: Standing;

  constructor(
    readonly key: LockKey,
    readonly host: QueueHost,
  ) {
    this.#standing = new Standing(host);
  }

  /** Why nobody can say whether the key is busy; `null` where it is, or was when last asked. */
  get trouble(): string | LockStoreUnavailableError | null {
    const { lastError, heard } = this.#standing;
    return lastError ?? (this.#phase.is('asking') && !heard ? 'it has not answered yet' : null);
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  add(waiter: Waiter): void {
    const mustWait = this.#phase.is('held') || this.#phase.is('waiting') || this.#waiters.size > 0;
    if (waiter.request.waitTimeMs === 0 && mustWait) {
      const { lastError } = this.#standing;
      return lastError ? waiter.reject(lastError) : waiter.resolve(null);
    }
    this.#waiters.add(waiter);
    if (this.#phase.is('idle')) this.#ask();
  }

  /** The caller gives up. @returns `false` if it had been served already. */
  leave(waiter: Waiter): boolean {
    if (!this.#waiters.remove(waiter)) return false;
    if (this.#waiters.size === 0 && this.#phase.is('waiting')) this.#withdraw();
    return true;
  }

  /** The one that is out. */
  get grant(): Grant | null {
    return this.#grant;
  }

  /** A wake-up from the backend. @returns `false` if nobody here wants the key: somebody else must be told. */
  wake(offer: Offer | null): boolean {
    if (this.#phase.is('idle')) return false;
    if (this.#phase.is('waiting')) this.#goFor(offer);
    else if (this.#phase.is('asking')) this.#standing.wake(offer);
    return true;
  }

  /** The current caller is done. */
  release(grant: Grant): Promise<ReleaseResult> {
    if (this.#grant !== grant) return NOT_HELD;
    const turn = grant.turn;
    const at = now();
    this.#grant = null;
    if (turn.isOverAt(at)) {
      this.#drop(turn);
      return NOT_HELD;
    }
    const next = this.#waiters.first;
    if (!next) return this.#giveBack(turn);
    if (!turn.mayGoOn(this.host.maxGrants, this.host.maxTurnMs, at)) return this.#pass(turn, next);
    this.#serve(turn, next, at);
    return RELEASED;
  }

  /** The backend does not honour the turn any more. */
  lose(grant: Grant, reason: LossReason): void {
    if (this.#grant !== grant) return;
    this.abandon(grant);
    grant.onLost?.(reason);
  }

  /** What carried the turn is gone; a turn of a later session is not meant. */
  sessionEnded(session: TurnSession): void {
    if (this.#grant?.turn.session === session) this.lose(this.#grant, 'session-ended');
  }

  /** Forgets the turn without telling the backend. */
  abandon(grant: Grant): void {
    if (this.#grant !== grant) return;
    this.#grant = null;
    this.#standing.forgetOwner();
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
    return this.#phase.settled();
  }

  /** Turns every waiter away. */
  rejectAll(error: Error): void {
    this.#waiters.dismiss('all', (waiter) => waiter.reject(error));
    if (this.#phase.is('waiting')) this.#withdraw();
  }

  #ask(): void {
    this.#phase.enter('asking');
    const request = this.#standing.request(this.#waiters.first!.request, this.#waiters.size > 1);
    const sentAt = now();
    this.host.backend.take(request).then(
      (answer) => this.#taken(answer, request, sentAt),
      (error: unknown) => this.#failed(error),
    );
  }

  #taken(answer: Granted | Busy, { owner, leaseTimeMs, wait }: TakeRequest, sentAt: number): void {
    this.#standing.answered();
    if (!answer.granted) return this.#busy(answer, wait, sentAt);
    const { tokens, session } = answer;
    this.#granted(new Turn(this, owner, leaseTimeMs, sentAt, tokens, session));
  }

  #granted(turn: Turn): void {
    this.#standing.granted();
    const next = this.#waiters.first;
    // Nobody is left to have it.
    if (!next) return this.#drop(turn);
    this.#serve(turn, next, now());
  }

  #goFor(offer: Offer | null): void {
    if (!offer || !this.#begin(offer)) this.#ask();
  }

  /** Begins a turn that was offered, and has it confirmed meanwhile. @returns `false` if it cannot be relied on: then it must be asked for. */
  #begin(offer: Offer): boolean {
    const { leaseTimeMs } = this.#waiters.first!.request;
    const queuedAt = this.#standing.queuedBefore(offer);
    const turn = queuedAt === null ? null : Turn.offered(this, offer, queuedAt, leaseTimeMs);
    if (!turn?.covers(leaseTimeMs, now())) return false;
    // The id under which it was asked for was never granted, and is dead from now on.
    this.#standing.forgetOwner();
    this.#standing.granted();
    // The backend counts from before now; as much more as clocks may drift.
    this.host.begun.add(offer.owner, now() + 1.02 * offer.keptMs + 2);
    this.#hand(turn);
    confirmOffer(this, turn, offer, this.#waiters.size > 0);
    return true;
  }

  /** @param queued whether the process asked for a place; a single try does not, and callers may have joined it since. */
  #busy(answer: Busy, queued: boolean, sentAt: number): void {
    const stray = this.#standing.busy(answer, sentAt);
    if (stray !== null) void this.host.giveBack(this.key, stray);
    this.#waitOrAsk(answer.retryInMs, queued);
  }

  /** Another process has the key; callers that only try have had their answer. */
  #waitOrAsk(retryInMs: number, queued: boolean): void {
    this.#waiters.dismiss('tries', (waiter) => waiter.resolve(null));
    if (this.#waiters.size === 0) this.#withdraw();
    else if (this.#standing.woken || !queued) this.#goFor(this.#standing.offer);
    else this.#phase.wait(retryInMs, () => this.#ask());
  }

  /** Gives the turn to a local caller, with a renewal first where too little lease is left for it. */
  #serve(turn: Turn, next: Waiter, at: number): void {
    const { leaseTimeMs } = next.request;
    if (turn.covers(leaseTimeMs, at)) return this.#hand(turn);
    // The answer came after the lease it grants: never used, given back.
    if (turn.isOverAt(at)) return this.#drop(turn);
    this.#phase.enter('asking');
    turn.renew(this.host.backend, leaseTimeMs).then(
      (held) => {
        this.#standing.answered();
        if (held) this.#hand(turn);
        else this.#drop(turn);
      },
      (error: unknown) => this.#unknown(turn, error),
    );
  }

  #hand(turn: Turn): void {
    const caller = this.#waiters.first;
    // Nobody is left to be told if the backend does not hear it: told in the background.
    if (!caller) return this.#drop(turn);
    this.#waiters.remove(caller);
    this.#phase.enter('held');
    this.#grant = turn.grant();
    caller.resolve(this.#grant);
  }

  /** Asks whether another process waits; else the turn goes on. */
  #pass(turn: Turn, { request: { leaseTimeMs } }: Waiter): Promise<ReleaseResult> {
    this.#phase.enter('asking');
    this.#standing.notWoken();
    const sentAt = now();
    return this.host.backend.pass(turn.ref(leaseTimeMs)).then(
      (answer) => this.#passed(turn, answer, leaseTimeMs, sentAt),
      (error: unknown) => {
        this.#unknown(turn, error);
        throw error;
      },
    );
  }

  /** A command about the turn was not answered. */
  #unknown(turn: Turn, error: unknown): void {
    this.#disown(turn);
    this.#failed(error);
  }

  #passed(turn: Turn, answer: PassAnswer, leaseTimeMs: number, sentAt: number): ReleaseResult {
    this.#standing.answered();
    if (answer.outcome === 'continues') {
      turn.restart(leaseTimeMs, sentAt, answer.tokens);
      this.#granted(turn);
      return 'released';
    }
    this.#standing.forgetOwner();
    if (answer.outcome === 'lost') {
      this.#goOn();
      return 'not-held';
    }
    this.#standing.queuedAgain(answer, sentAt);
    this.#waitOrAsk(answer.retryInMs, true);
    return 'released';
  }

  /** Nobody here waits: the key goes to another process, or is free. A caller that comes now asks at once, behind this command. */
  #giveBack(turn: Turn): Promise<ReleaseResult> {
    this.#standing.forgetOwner();
    this.#phase.enter('idle');
    return this.host.backend.giveBack(turn.ref(), false).then(
      ({ held }) => {
        this.#forgetIfIdle();
        return held ? 'released' : 'not-held';
      },
      (error: unknown) => {
        void this.host.giveBack(this.key, turn.owner);
        this.#forgetIfIdle();
        throw error;
      },
    );
  }

  /** The turn is over for this process, whatever the backend believes: says so, and goes on under a new owner id. */
  #drop(turn: Turn): void {
    this.#disown(turn);
    this.#goOn();
  }

  #disown(turn: Turn): void {
    this.#standing.forgetOwner();
    void this.host.giveBack(this.key, turn.owner);
  }

  /** After a turn that ended badly: whoever waits asks again, under a new owner id. */
  #goOn(): void {
    if (this.#waiters.size > 0) return this.#ask();
    this.#withdraw();
  }

  /** The last waiter left: takes the process out of the backend's queue and passes a wake-up on that it may have consumed. */
  #withdraw(): void {
    const owners = this.#standing.withdraw();
    this.#phase.enter('idle');
    for (const owner of owners) void this.host.giveBack(this.key, owner);
    this.#forgetIfIdle();
  }

  #failed(error: unknown): void {
    this.#standing.leftTraces();
    if (!(error instanceof LockStoreUnavailableError)) {
      this.rejectAll(error instanceof Error ? error : new LockConfigurationError(String(error)));
      return this.#withdraw();
    }
    const backoffMs = this.#standing.failed(error);
    this.#waiters.dismiss('tries', (waiter) => waiter.reject(error));
    if (this.#waiters.size === 0) this.#withdraw();
    else this.#phase.wait(backoffMs, () => this.#ask());
  }

  #forgetIfIdle(): void {
    if (this.#phase.is('idle') && this.#waiters.size === 0) this.host.idle(this.key, this);
  }
}
