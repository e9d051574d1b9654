import * as fc from 'fast-check';
import { LockWaitTimeoutError } from '../../src/distributed-lock/distributed-lock.errors.js';
import type { ManagedHold } from '../../src/distributed-lock/lock/managed-hold.js';
import type { Admission, LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { Managed } from '../lock/managed.js';
import { VirtualTime } from '../protocol/model/virtual-time.js';

/** One step of a run. Numbers choose among what there is at that moment, modulo its count. */
export type Step =
  | {
      readonly type: 'acquire';
      readonly manager: number;
      readonly key: number;
      readonly waitTimeMs: number;
      readonly leaseTimeMs: number;
      readonly renew: boolean;
      readonly admission: Admission | undefined;
    }
  | { readonly type: 'abort' | 'release' | 'renew' | 'abandon'; readonly which: number }
  | { readonly type: 'pass-time'; readonly ms: number }
  | { readonly type: 'crash'; readonly manager: number };

export const LONGEST_LEASE_MS = 2_000;
/** Longer than any run: whoever waits so long must be served. */
const PATIENT_MS = 3_600_000;
/** What a wake-up that was lost with a crashed process may cost. */
const SAFETY_LOOK_MS = 5_000;

const which = fc.nat({ max: 7 });
/** A key's permits are the same whoever asks: two in all. */
const admission: fc.Arbitrary<Admission> = fc.constantFrom(
  { mode: 'exclusive', fair: true },
  { mode: 'shared', fair: true },
  { mode: 'shared', fair: true },
  { mode: 'permit', permits: 2, fair: true },
);
const acquire = fc.record({
  type: fc.constant('acquire' as const),
  manager: fc.nat({ max: 3 }),
  key: fc.nat({ max: 1 }),
  waitTimeMs: fc.constantFrom(0, 20, 400, PATIENT_MS, PATIENT_MS),
  leaseTimeMs: fc.integer({ min: 100, max: LONGEST_LEASE_MS }),
  renew: fc.boolean(),
  admission: fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 5, arbitrary: admission },
  ),
});
const of = (type: 'abort' | 'release' | 'renew' | 'abandon') =>
  fc.record({ type: fc.constant(type), which });

export const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: acquire },
    { weight: 6, arbitrary: of('release') },
    { weight: 2, arbitrary: of('abort') },
    { weight: 2, arbitrary: of('renew') },
    { weight: 1, arbitrary: of('abandon') },
    {
      weight: 5,
      arbitrary: fc.record({
        type: fc.constant('pass-time' as const),
        ms: fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 3_000 })),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('crash' as const), manager: fc.nat({ max: 3 }) }),
    },
  ),
  { minLength: 5, maxLength: 40, size: 'max' },
);

/** A store that can stop as a killed process does: it says nothing any more, and hears nothing. */
export interface CrashingStore {
  readonly store: LockStore;
  crash(): void;
}

interface Waiting {
  readonly process: Process;
  readonly key: string;
  readonly admission: Admission | undefined;
  readonly abort: AbortController;
  readonly until: number;
}

interface Held {
  readonly process: Process;
  readonly hold: ManagedHold;
  readonly mode: Admission['mode'];
}

interface Process extends CrashingStore {
  readonly managed: Managed;
  crashed: boolean;
}

/**
 * Plays steps on managers that share a backend, in virtual time, and compares every moment with
 * what a lock promises: one holder per key, or any number of shared ones, or two permits; tokens that grow; order of arrival; an abort
 * answered with its reason; a release that frees; a crash that costs a lease; everybody who waits on is served.
 *
 * @returns what was violated, in words; empty if nothing was.
 */
export async function playLocks(
  time: VirtualTime,
  stores: readonly CrashingStore[],
  script: readonly Step[],
): Promise<readonly string[]> {
  await Promise.all(stores.map(({ store }) => store.open('property', 1_000)));
  const run = new LockRun(time, stores);
  for (const step of script) {
    run.take(step);
    await run.passTime(step.type === 'pass-time' ? step.ms : 0);
    if (run.violations.length > 0) return run.violations;
  }
  await run.end();
  return run.violations;
}

class LockRun {
  readonly violations: string[] = [];
  readonly #processes: readonly Process[];
  /** In order of arrival. */
  readonly #waiting = new Set<Waiting>();
  readonly #held = new Set<Held>();
  readonly #lastToken = new Map<string, bigint>();

  constructor(
    private readonly time: VirtualTime,
    stores: readonly CrashingStore[],
  ) {
    this.#processes = stores.map(({ store, crash }) => ({
      store,
      crash,
      managed: new Managed(store),
      crashed: false,
    }));
  }

  take(step: Step): void {
    if (step.type === 'acquire') void this.#acquire(step);
    else if (step.type === 'crash') this.#crash(this.#process(step.manager));
    else if (step.type === 'abort') pick(this.#waiting, step.which)?.abort.abort(new Error('gone'));
    else if (step.type !== 'pass-time') this.#use(step.type, pick(this.#held, step.which));
  }

  async passTime(ms: number): Promise<void> {
    const end = this.time.now + ms;
    do {
      await this.time.advance(Math.min(10, end - this.time.now));
      this.#checkExclusion();
    } while (end - this.time.now > 1e-6);
  }

  /** Everybody releases what they get: whoever still waits must be served, and nothing may be left. */
  async end(): Promise<void> {
    const limit = this.time.now + (this.#waiting.size + 2) * (LONGEST_LEASE_MS + SAFETY_LOOK_MS);
    while (this.#waiting.size > 0 || this.#held.size > 0) {
      if (this.time.now > limit)
        this.violations.push(`${this.#waiting.size} callers are never served`);
      if (this.violations.length > 0) return;
      for (const held of this.#held) this.#use('release', held);
      await this.passTime(50);
    }
    const live = this.#processes.filter(({ crashed }) => !crashed);
    const closed = Promise.all(live.map(({ managed }) => managed.manager.close(0)));
    await this.time.advance(LONGEST_LEASE_MS);
    await closed;
  }

  async #acquire({ manager, key, admission, ...times }: Step & { type: 'acquire' }): Promise<void> {
    const process = this.#process(manager);
    if (process.crashed) return;
    const until = this.time.now + times.waitTimeMs;
    const waiting = { process, key: `key${key}`, admission, abort: new AbortController(), until };
    const { signal } = waiting.abort;
    this.#waiting.add(waiting);
    let hold: ManagedHold;
    try {
      hold = await process.managed.enter(waiting.key, times, signal, admission);
    } catch (error) {
      this.#waiting.delete(waiting);
      return this.#refused(waiting, error);
    }
    this.#demand(!signal.aborted, 'a grant after the abort');
    this.#served(waiting, hold);
  }

  #served(waiting: Waiting, hold: ManagedHold): void {
    const { key, admission } = waiting;
    const first = [...this.#waiting].find(
      (it) => it === waiting || (isAhead(it, waiting) && this.#mayBeServed(it)),
    );
    this.#demand(first === waiting, 'a caller was overtaken');
    this.#waiting.delete(waiting);
    const mode = admission?.mode ?? 'exclusive';
    if (mode === 'exclusive') this.#checkToken(key, hold.fencingToken!);
    else this.#demand(hold.fencingToken === null, 'holders together have a token');
    this.#held.add({ process: waiting.process, hold, mode });
    this.#checkExclusion();
  }

  #mayBeServed({ abort, until }: Waiting): boolean {
    return !abort.signal.aborted && this.time.now < until;
  }

  #checkToken(key: string, token: bigint): void {
    const last = this.#lastToken.get(key) ?? -1n;
    this.#demand(token > last, `token ${token} after ${last}`);
    this.#lastToken.set(key, token);
  }

  #refused({ abort, until }: Waiting, error: unknown): void {
    if (abort.signal.aborted)
      this.#demand(error === abort.signal.reason, `abort: ${String(error)}`);
    else if (!(error instanceof LockWaitTimeoutError))
      this.#demand(false, `refused: ${String(error)}`);
    else this.#demand(this.time.now >= until, 'turned away before its wait time was over');
  }

  #use(what: 'release' | 'renew' | 'abandon', held: Held | undefined): void {
    if (!held) return;
    const { hold, process } = held;
    const was = hold.isHeld();
    if (what === 'renew') {
      void hold.renew().then(
        () => this.#demand(was, 'a renewal brought a hold back'),
        (error: unknown) => this.#demand(!was || !hold.isHeld(), `renewal: ${String(error)}`),
      );
      return;
    }
    this.#held.delete(held);
    if (process.crashed) return;
    if (what === 'abandon') return hold.abandon();
    void hold.release().then((result) => {
      this.#demand(was || result === 'not-held', 'what was lost was released');
    });
  }

  #crash(process: Process): void {
    if (this.#processes.filter(({ crashed }) => !crashed).length === 1) return;
    process.crashed = true;
    process.crash();
    for (const waiting of this.#waiting) {
      if (waiting.process === process) this.#waiting.delete(waiting);
    }
  }

  /** Of a holder that crashed too: until its deadline it may have acted on its hold. */
  #checkExclusion(): void {
    const holders = new Map<string, Held['mode'][]>();
    for (const { hold, mode } of this.#held) {
      if (hold.isHeld()) holders.set(hold.key, [...(holders.get(hold.key) ?? []), mode]);
    }
    for (const [key, modes] of holders) {
      const [first] = modes;
      const most = { exclusive: 1, shared: Infinity, permit: 2 }[first!];
      const kept = modes.length <= most && modes.every((mode) => mode === first);
      this.#demand(kept, `holders of ${key}: ${modes.join(', ')}`);
    }
  }

  #process(index: number): Process {
    return this.#processes[index % this.#processes.length]!;
  }

  #demand(kept: boolean, what: string): void {
    if (!kept) this.violations.push(what);
  }
}

/**
 * Callers of turns are served in order within their process, those of the line over all processes; each among themselves. Callers of the
 * line that are let in together may learn of it in any order, if they are of different processes.
 */
function isAhead(one: Waiting, other: Waiting): boolean {
  if (one.key !== other.key || !one.admission !== !other.admission) return false;
  if (one.process === other.process) return true;
  const modes = [one.admission?.mode, other.admission?.mode];
  return one.admission !== undefined && (modes[0] !== modes[1] || modes[0] === 'exclusive');
}

function pick<T>(from: ReadonlySet<T>, index: number): T | undefined {
  return [...from][index % Math.max(from.size, 1)];
}
