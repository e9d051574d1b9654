import { now } from '../distributed-lock.clock.js';
import { LockClosedError, LockStoreUnavailableError } from '../distributed-lock.errors.js';
import { TransientMap } from '../distributed-lock.transient-map.js';
import type {
  EnterRequest,
  HeldPlace,
  LineBackend,
  LineListener,
  LinePlace,
} from './line-backend.js';
import { LineCaller, type LineRequest } from './line-caller.js';
import { LineCallers } from './line-callers.js';
import { LineGrant } from './line-grant.js';
import type { LockGrant, ReleaseResult, Renewal, StoreTraits } from './lock-store.js';
import { unavailable } from './trouble.js';
import { lookAt } from './operator.js';
import type { TurnRef, TurnSession } from './turn-backend.js';
import { UntoldReleases } from './untold-releases.js';

/**
 * Callers with a place of their own at the backend: shared holders, permits, and exclusive ones in order of arrival.
 *
 * Each caller asks for itself, is called when it was let in, and confirms by asking again. Of the callers of one key only the first
 * looks by itself from time to time: a look lets in whoever may enter, and those are called.
 */
export class Line implements LineListener {
  readonly #callers = new LineCallers();
  readonly #held = new TransientMap<string, LineGrant>();
  /** Owner ids whose keys are left to their lease on purpose, with the time at which it is over. */
  readonly #abandoned = new Map<string, number>();
  /** Owner ids whose leave is on its way: answers that were given before it still name them. */
  readonly #leaving = new Set<string>();
  readonly #untold: UntoldReleases<HeldPlace>;
  #serial = 0;
  #closed = false;

  constructor(
    private readonly backend: LineBackend,
    private readonly traits: Pick<StoreTraits, 'name' | 'wakes'>,
    /** Random id; every owner id starts with it. Not the one that the turns of the same process have. */
    private readonly lineId: string,
  ) {
    this.#untold = new UntoldReleases({
      giveBack: ({ place }) => backend.leave(place),
      keep: (held, leaseTimeMs) => backend.renew([{ ...held, leaseTimeMs }]),
    });
    backend.listen(this);
  }

  open(): void {
    this.#closed = false;
    this.#untold.resume();
  }

  acquire(request: LineRequest): Promise<LockGrant | null> {
    if (this.#closed) return Promise.reject(new LockClosedError(request.key));
    if (request.signal?.aborted) return Promise.reject(request.signal.reason);
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (answer: () => void): void => {
        clearTimeout(timer);
        request.signal?.removeEventListener('abort', onAbort);
        answer();
      };
      const caller = new LineCaller(this.#place(request), request, {
        resolve: (grant) => settle(() => resolve(grant)),
        reject: (error) => settle(() => reject(error)),
      });
      const onAbort = (): void => this.#giveUp(caller, () => caller.reject(request.signal!.reason));
      if (caller.waits) {
        timer = setTimeout(() => this.#timedOut(caller), request.waitTimeMs);
        timer.unref();
      }
      request.signal?.addEventListener('abort', onAbort, { once: true });
      this.#callers.add(caller);
      void this.#serve(caller);
    });
  }

  async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    const held = renewals.filter(({ grant }) => this.#grant(grant) !== null);
    if (held.length === 0) return renewals.map(() => false);
    const sentAt = now();
    const answers = await this.backend.renew(
      held.map(({ grant, leaseTimeMs }) => ({ ...(grant as LineGrant).held, leaseTimeMs })),
    );
    const honoured = new Set<LockGrant>();
    for (const [index, { grant, leaseTimeMs }] of held.entries()) {
      const live = this.#grant(grant);
      if (!live) continue; // given back while the answer was on its way
      if (answers[index]) {
        live.prolong(leaseTimeMs, sentAt);
        honoured.add(grant);
      } else {
        this.#held.delete(live.owner);
        live.onLost?.('taken-over');
      }
    }
    return renewals.map(({ grant }) => honoured.has(grant));
  }

  async release(grant: LockGrant, keepForMs = 0): Promise<ReleaseResult> {
    const held = this.#grant(grant);
    if (!held) return 'not-held';
    this.#held.delete(held.owner);
    if (keepForMs > 0 && !held.isOver) return this.#keep(held, keepForMs);
    if (held.isOver) {
      void this.#leave(held.place);
      return 'not-held';
    }
    this.#leaving.add(held.owner);
    try {
      return (await this.backend.leave(held.place)) ? 'released' : 'not-held';
    } catch (error) {
      void this.#leave(held.place);
      throw error;
    } finally {
      this.#leaving.delete(held.owner);
    }
  }

  /** Nobody is behind the place any more, and it stays until the time is over; a process that ends before leaves it to its lease. */
  async #keep({ owner, place, held }: LineGrant, forMs: number): Promise<ReleaseResult> {
    const until = now() + forMs;
    this.#abandoned.set(owner, until);
    setTimeout(() => void this.#leave(place), forMs).unref();
    const kept = this.backend.renew([{ ...held, leaseTimeMs: forMs }]);
    void kept.catch(() => this.#untold.tell(held, () => false, until));
    return (await kept)[0] ? 'released' : 'not-held';
  }

  abandon(grant: LockGrant): void {
    const held = this.#grant(grant);
    if (!held) return;
    this.#held.delete(held.owner);
    // Not the local deadline: the server keeps the key a little longer than its holder may believe in it.
    this.#abandoned.set(held.owner, now() + held.leaseTimeMs);
    // The session goes on without the hold, so its end would not free the key: the lease is counted here.
    if (held.session) setTimeout(() => void this.#leave(held.place), held.leaseTimeMs).unref();
  }

  stop(): void {
    this.#closed = true;
    for (const caller of this.#callers.all())
      this.#giveUp(caller, () => caller.reject(new LockClosedError(caller.place.key)));
  }

  /** {@link stop}s, and gives up what is held. */
  async close(): Promise<void> {
    this.stop();
    for (const grant of this.#held.values()) {
      void this.#leave(grant.place);
      grant.onLost?.('closed');
    }
    this.#held.clear();
    await this.#untold.settle();
  }

  called(place: LinePlace, inMs: number): void {
    const caller = this.#callers.at(place);
    if (caller && inMs > 0) return caller.watch(inMs);
    if (caller) return caller.look();
    // Let in after it had left, or by a late copy of its command: nobody is there.
    if (inMs === 0 && this.#isDead(place)) void this.#leave(place);
  }

  ready(): void {
    this.#untold.retryNow();
    for (const caller of this.#callers.all()) caller.look();
  }

  sessionEnded(session: TurnSession): void {
    for (const grant of this.#held.values()) {
      if (grant.session !== session) continue;
      this.#held.delete(grant.owner);
      grant.onLost?.('session-ended');
    }
  }

  evicted({ owner }: TurnRef): Promise<void> {
    return lookAt(this, this.#held.get(owner) ?? null);
  }

  /** Asks until the caller is let in or has given up. */
  async #serve(caller: LineCaller): Promise<void> {
    while (!caller.isOver) {
      const pauseMs = await this.#ask(caller);
      if (caller.isOver) break;
      // Called meanwhile: the answer may be older than the call.
      if (caller.called) continue;
      const paused = caller.pause(pauseMs);
      this.#watchFirst(caller);
      await paused;
    }
    this.#forget(caller);
  }

  /** @returns how long to wait for the next look, unless the call is over. */
  async #ask(caller: LineCaller): Promise<number> {
    const { place, waits, since, attempt } = caller;
    const { leaseTimeMs } = caller.request;
    caller.called = false;
    caller.asked = true;
    const sentAt = now();
    const request: EnterRequest = { place, leaseTimeMs, wait: waits, since, attempt };
    const answer = await this.backend
      .enter(request)
      .catch((error: unknown) => this.#failed(caller, error));
    if (typeof answer === 'number') return answer;
    if (answer.admitted) {
      const { token, session } = answer;
      this.#admitted(caller, new LineGrant(place, token, leaseTimeMs, sentAt, session));
      return 0;
    }
    caller.answered();
    caller.notYet(answer);
    this.#healDeadHolder(place, answer.holder);
    if (!waits) caller.resolve(null);
    return answer.retryInMs;
  }

  #admitted(caller: LineCaller, grant: LineGrant): void {
    if (caller.isOver) return void this.#leave(grant.place); // gave up while the answer was on its way
    caller.answered();
    if (grant.isOver) {
      // The answer came after the lease it grants: never used, given back.
      void this.#leave(grant.place);
      caller.startAnew(this.#place(caller.request));
      caller.called = true; // ask at once
      return;
    }
    this.#held.set(grant.owner, grant);
    caller.resolve(grant);
  }

  #failed(caller: LineCaller, error: unknown): number {
    if (caller.isOver) return 0;
    if (error instanceof LockStoreUnavailableError && caller.waits) return caller.failed(error);
    this.#giveUp(caller, () => caller.reject(error));
    return 0;
  }

  #timedOut(caller: LineCaller): void {
    const { trouble, place } = caller;
    const error = trouble === null ? null : unavailable(this.traits.name, place.key, trouble);
    this.#giveUp(caller, () => (error ? caller.reject(error) : caller.resolve(null)));
  }

  /** The caller wants the key no more: its place is given up, wherever it is by now. */
  #giveUp(caller: LineCaller, tell: () => void): void {
    if (caller.isOver) return;
    tell();
    if (caller.asked) void this.#leave(caller.place);
  }

  /** A late copy of an old command let in an owner that nobody is behind. */
  #healDeadHolder({ key, admission }: LinePlace, holder: string | null): void {
    if (holder === null) return;
    const place = { key, owner: holder, admission };
    if (this.#isDead(place)) void this.#leave(place);
  }

  /** Whether it is an owner id of this process that nobody uses any more. */
  #isDead(place: LinePlace): boolean {
    const { owner } = place;
    if (!owner.startsWith(`${this.lineId}:`) || this.#held.has(owner)) return false;
    for (const [it, until] of this.#abandoned) if (until < now()) this.#abandoned.delete(it);
    if (this.#abandoned.has(owner) || this.#leaving.has(owner)) return false;
    return this.#callers.at(place) === null;
  }

  /** Of those who are called when their time comes, only the first looks by itself. */
  #watchFirst(paused: LineCaller): void {
    if (!paused.isQueued || this.traits.wakes === 'poll') paused.watch();
    this.#callers.firstQueued(paused.place.key)?.watch();
  }

  #forget(caller: LineCaller): void {
    this.#callers.remove(caller);
    this.#callers.firstQueued(caller.request.key)?.watch();
  }

  async #leave(place: LinePlace): Promise<void> {
    this.#leaving.add(place.owner);
    await this.#untold.tell({ place, token: null, leaseTimeMs: 0 }, () => false);
    this.#leaving.delete(place.owner);
  }

  #place({ key, admission }: LineRequest): LinePlace {
    this.#serial += 1;
    return { key, owner: `${this.lineId}:${this.#serial}`, admission };
  }

  #grant(grant: LockGrant): LineGrant | null {
    const held = this.#held.get(grant.owner);
    return held === grant ? held : null;
  }
}
