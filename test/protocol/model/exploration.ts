import {
  LockClosedError,
  LockStoreUnavailableError,
} from '../../../src/distributed-lock/distributed-lock.errors.js';
import type { LockGrant } from '../../../src/distributed-lock/store/lock-store.js';
import { QueueingLockStore } from '../../../src/distributed-lock/store/queueing.lock-store.js';
import { ModelBackend } from './model-network.js';
import { ALL_RULES, KEY, ModelServer, type Rules } from './model-server.js';
import { Chance, VirtualTime } from './virtual-time.js';

export type Fault =
  | 'slow'
  | 'cut'
  /** A command of a broken connection is executed when the next one is in use. */
  | 'late-copy'
  | 'inbox'
  /** Wake-ups come long after they were sent. */
  | 'stale'
  | 'flush'
  | 'crash'
  | 'abandon'
  /** A process shuts down in order. */
  | 'close';

export interface Plan {
  readonly seed: number;
  readonly faults?: readonly Fault[];
  readonly rules?: Partial<Rules>;
  readonly processes?: number;
  readonly callers?: number;
  readonly calls?: number;
}

interface Process {
  readonly store: QueueingLockStore;
  readonly backend: ModelBackend;
  /** Calls of `acquire` without an answer. */
  asking: number;
  inside: number;
  /** Callers that have not come to their end. */
  callers: number;
  state: 'runs' | 'closed' | 'crashed';
}

interface Inside {
  readonly process: Process;
  readonly grant: LockGrant;
  /** Between which losses of data the turn began: the server excludes nobody over one. */
  readonly era: number;
}

/** Faults after which a key may stay closed until its lease is over, though nobody holds it. */
const LEAVES_KEYS: readonly Fault[] = ['crash', 'late-copy', 'abandon'];
/** Faults after which a waiter may depend on its timer. */
const LOSES_WAKE_UPS: readonly Fault[] = ['slow', 'cut', 'late-copy', 'inbox', 'stale', 'flush'];

/**
 * One run of several processes over one model server, all decisions taken by the seed.
 *
 * Checks S1 no two valid holders; S2 tokens strictly increase; S3' no orphan; S5 what a renewal confirms is in the key;
 * S6 no false loss; L1 every patient caller is served; L2 with everything delivered, a free key has no sleeping waiter; and
 * that no process is left in the queue.
 *
 * @returns what was violated, in words; empty if nothing was.
 */
export async function explore(plan: Plan): Promise<readonly string[]> {
  const run = new Run(plan);
  const uninstall = run.time.install();
  const { random } = Math;
  Math.random = () => run.chance.next();
  try {
    return await run.play();
  } finally {
    Math.random = random;
    uninstall();
  }
}

class Run {
  readonly time = new VirtualTime();
  readonly chance: Chance;
  readonly #violations: string[] = [];
  readonly #faults: ReadonlySet<Fault>;
  readonly #server: ModelServer;
  readonly #processes: Process[];
  readonly #inside = new Set<Inside>();
  #lastToken = 0n;
  #lastEra = 0;

  constructor(private readonly plan: Plan) {
    this.chance = new Chance(plan.seed);
    this.#faults = new Set(plan.faults);
    this.#server = new ModelServer(() => this.time.now, { ...ALL_RULES, ...plan.rules });
    this.#server.onViolation = (what) => this.#violations.push(what);
    const longest = this.chance.of(0.01, 1, 5, 20);
    const weather = {
      delayMs: () => this.chance.upTo(longest),
      slow: this.#faults.has('slow') ? 0.05 : 0,
      stale: this.#faults.has('stale') ? 0.1 : 0,
    };
    const bounds = { maxGrants: this.chance.of(1, 2, 32), maxTimeMs: this.chance.of(5, 50) };
    this.#processes = Array.from({ length: plan.processes ?? 3 }, (_, n) => {
      const backend = new ModelBackend(`p${n}`, this.#server, this.time, this.chance, weather);
      const store = new QueueingLockStore(backend, `p${n}`, bounds);
      return { backend, store, asking: 0, inside: 0, callers: 0, state: 'runs' };
    });
    this.#server.publish = (id, offer) =>
      this.#processes.find(({ backend }) => backend.process === id)!.backend.wake(offer);
  }

  async play(): Promise<readonly string[]> {
    for (const process of this.#processes) {
      await process.store.open('model', 1_000);
      for (let n = 0; n < (this.plan.callers ?? 3); n += 1) void this.#caller(process);
    }
    this.#schedule();
    const deadline = 900_000;
    const running = (): number =>
      this.#processes.reduce((sum, it) => sum + (it.state === 'crashed' ? 0 : it.callers), 0);
    while (running() > 0 && this.#violations.length === 0) {
      if (!(await this.time.step()) || this.time.now > deadline) {
        this.#violations.push(`L1: ${running()} callers never came back`);
      }
      this.#check();
    }
    await this.#checkRest();
    return this.#violations;
  }

  async #caller(process: Process): Promise<void> {
    process.callers += 1;
    for (let n = 0; n < (this.plan.calls ?? 4) && process.state === 'runs'; n += 1) {
      await this.time.sleep(this.chance.of(0, 1, 10, 60) * this.chance.next());
      const waitTimeMs = this.chance.of(0, 10, 100, 120_000, 120_000);
      const grant = await this.#acquire(process, waitTimeMs);
      if (grant && process.state === 'runs') await this.#work(process, grant);
    }
    process.callers -= 1;
  }

  async #acquire(process: Process, waitTimeMs: number): Promise<LockGrant | null> {
    const leaseTimeMs = this.chance.of(150, 400, 60_000);
    const abort = new AbortController();
    const aborts = waitTimeMs > 0 && this.chance.happens(0.15);
    if (aborts) this.time.after(this.chance.upTo(60), () => abort.abort(new Error('gone')));
    const request = { key: KEY, leaseTimeMs, waitTimeMs, signal: abort.signal };
    process.asking += 1;
    try {
      const grant = await process.store.acquire(request);
      if (grant && abort.signal.aborted) this.#violations.push('S4: a grant after the abort');
      const mustBeServed = waitTimeMs > 60_000 && !this.#has(LEAVES_KEYS);
      if (!grant && mustBeServed) this.#violations.push('L1: a patient caller was not served');
      return grant;
    } catch (error) {
      if (process.state === 'crashed') return null;
      if (process.state === 'closed' && error instanceof LockClosedError) return null;
      const fits =
        error instanceof LockStoreUnavailableError
          ? this.#has(LOSES_WAKE_UPS) || waitTimeMs <= 10 // less than a round trip may take
          : aborts;
      if (!fits) this.#violations.push(`unexpected: ${String(error)}`);
      return null;
    } finally {
      process.asking -= 1;
    }
  }

  async #work(process: Process, grant: LockGrant): Promise<void> {
    const inside = { process, grant, era: this.#server.eraOf(grant.fencingToken!) };
    this.#inside.add(inside);
    process.inside += 1;
    this.#checkToken(grant.fencingToken!);
    const steps = this.chance.of(1, 1, 3);
    for (let n = 0; n < steps && process.state === 'runs'; n += 1) {
      await this.time.sleep(this.chance.upTo(this.chance.of(2, 2, 20, 400)));
      if (this.chance.happens(0.3)) await this.#renew(inside);
    }
    if (this.chance.happens(0.02)) await this.time.sleep(500);
    if (process.state !== 'runs') return;
    this.#inside.delete(inside);
    process.inside -= 1;
    if (this.#faults.has('abandon') && this.chance.happens(0.1))
      return process.store.abandon(grant);
    await process.store.release(grant).catch((error: unknown) => this.#allowed(error, process));
  }

  async #renew(inside: Inside): Promise<void> {
    const { grant, process, era } = inside;
    const renewal = { grant, leaseTimeMs: this.chance.of(100, 500, 5_000) };
    const valid = (): boolean => this.time.now < grant.validUntil;
    if (!valid()) return;
    try {
      const [honoured] = await process.store.renew([renewal]);
      const mustHold = process.state === 'runs' && era === this.#server.era;
      if (!honoured && valid() && mustHold)
        this.#violations.push('S6: a renewal was refused to a valid holder');
    } catch (error) {
      this.#allowed(error, process);
    }
  }

  /** Calls fail where the network does, and where the process has shut down. */
  #allowed(error: unknown, process: Process): void {
    if (this.#has(LOSES_WAKE_UPS) || process.state !== 'runs') return;
    this.#violations.push(`unexpected: ${String(error)}`);
  }

  #schedule(): void {
    const happens = (fault: Fault, run: () => void): void => {
      if (!this.#faults.has(fault)) return;
      for (let n = this.chance.of(1, 2, 4); n > 0; n -= 1)
        this.time.after(this.chance.upTo(400), run);
    };
    const any = (): Process => this.chance.of(...this.#processes);
    happens('cut', () => any().backend.cut(false));
    happens('late-copy', () => any().backend.cut(true));
    happens('inbox', () => any().backend.cutInbox());
    happens('flush', () => this.#server.flush());
    happens('crash', () => this.#crash(any()));
    happens('close', () => this.#close(any()));
  }

  #crash(process: Process): void {
    if (process.state !== 'runs') return;
    if (this.#processes.filter(({ state }) => state === 'runs').length === 1) return;
    process.state = 'crashed';
    process.backend.crash();
    // The wake-up may have died with it: those who wait now depend on their timers.
    this.#server.freed = false;
    for (const inside of this.#inside) if (inside.process === process) this.#inside.delete(inside);
  }

  /** Holders are told; what they hold, and what is on its way to them, is given back. */
  #close(process: Process): void {
    if (process.state !== 'runs') return;
    process.state = 'closed';
    for (const inside of this.#inside) if (inside.process === process) this.#inside.delete(inside);
    process.inside = 0;
    void process.store.close();
  }

  #check(): void {
    let valid = 0;
    for (const { grant, era } of this.#inside)
      if (era === this.#server.era && this.time.now < grant.validUntil) valid += 1;
    if (valid > 1) this.#violations.push(`S1: ${valid} holders inside`);
    if (this.#has(LOSES_WAKE_UPS) || this.#onTheirWay() > 0) return;
    const entry = this.#server.live();
    if (entry) return this.#checkOrphan(entry.owner);
    if (!this.#server.freed) return;
    for (const { asking, inside, backend, state } of this.#processes) {
      if (asking > 0 && inside === 0 && state === 'runs')
        this.#violations.push(`L2: ${backend.process} sleeps although the key is free`);
    }
  }

  /** With everything delivered, whoever is in the key has a caller inside. A reservation names no owner of that form. */
  #checkOrphan(owner: string): void {
    if (this.#has(LEAVES_KEYS)) return;
    const holder = this.#processes.find(({ backend }) => owner.startsWith(`${backend.process}:`));
    if (holder?.inside === 0) this.#violations.push(`S3': the key is left to ${owner}`);
  }

  #checkToken(token: bigint): void {
    const era = this.#server.eraOf(token);
    // An answer that was on its way when the data was lost may arrive after those to its successors.
    if (token <= this.#lastToken && era >= this.#lastEra)
      this.#violations.push(`S2: token ${token} after ${this.#lastToken}`);
    if (token > this.#lastToken) [this.#lastToken, this.#lastEra] = [token, era];
  }

  /** Everybody is served: nothing may be left behind. */
  async #checkRest(): Promise<void> {
    if (this.#violations.length > 0) return;
    const end = this.time.now + 20_000;
    while (this.time.now < end && (await this.time.step())) this.#check();
    if (this.#has(LEAVES_KEYS)) return;
    const { owner, turn } = this.#server.live() ?? {};
    if (owner !== undefined && turn !== 0)
      this.#violations.push(`S3': the key is left to ${owner}`);
    if (this.#has(LOSES_WAKE_UPS)) return;
    for (const id of this.#server.waiting.keys())
      this.#violations.push(`${id} is left in the queue`);
  }

  #onTheirWay(): number {
    let sum = 0;
    for (const { backend } of this.#processes) sum += backend.onTheirWay;
    return sum;
  }

  #has(faults: readonly Fault[]): boolean {
    return faults.some((fault) => this.#faults.has(fault));
  }
}
