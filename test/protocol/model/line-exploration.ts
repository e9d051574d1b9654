import {
  LockClosedError,
  LockStoreUnavailableError,
} from '../../../src/distributed-lock/distributed-lock.errors.js';
import { Line } from '../../../src/distributed-lock/store/line.js';
import type { Admission, LockGrant } from '../../../src/distributed-lock/store/lock-store.js';
import type { Fault } from './exploration.js';
import { ALL_LINE_RULES, type LineRules, LineServer, ModelLine } from './line-server.js';
import { KEY } from './model-server.js';
import { Chance, VirtualTime } from './virtual-time.js';

export interface LinePlan {
  readonly seed: number;
  readonly faults?: readonly Fault[];
  readonly rules?: Partial<LineRules>;
}

interface Process {
  readonly line: Line;
  readonly network: ModelLine;
  callers: number;
  state: 'runs' | 'closed' | 'crashed';
}

interface Inside {
  readonly process: Process;
  readonly grant: LockGrant;
  readonly admission: Admission;
  /** Between which losses of data the hold began: the server excludes nobody over one. */
  readonly era: number;
}

const [PROCESSES, CALLERS, CALLS] = [3, 4, 3];
const PERMITS = 2;
const KINDS: readonly Admission[] = [
  { mode: 'exclusive', fair: true },
  { mode: 'shared', fair: false },
  { mode: 'shared', fair: false },
  { mode: 'permit', permits: PERMITS, fair: false },
  { mode: 'permit', permits: PERMITS, fair: false },
];

/** Faults after which a key may stay held until a lease is over, though nobody is inside. */
const LEAVES_HOLDERS: readonly Fault[] = ['crash', 'late-copy', 'abandon'];
/** Faults that may cost one lease after the other. */
const LOSES_LEASES: readonly Fault[] = ['late-copy', 'abandon'];
/** Faults after which a waiter may depend on its timer. */
const LOSES_CALLS: readonly Fault[] = ['slow', 'cut', 'late-copy', 'inbox', 'flush'];

/**
 * One run of several processes whose callers stand in one line, all decisions taken by the seed.
 *
 * Checks S1 nobody is inside beside whom he may not be, and no more than there are permits; S2 tokens of exclusive holders strictly
 * increase; S3 nobody is inside without a caller; S6 no false loss; O1 nobody is overtaken by one
 * that came later; L1 every patient caller is served; L2 with everything delivered, nobody sleeps who may enter; and that nothing is left.
 *
 * @returns what was violated, in words; empty if nothing was.
 */
export async function exploreLine(plan: LinePlan): Promise<readonly string[]> {
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
  readonly #server: LineServer;
  readonly #processes: Process[];
  readonly #inside = new Set<Inside>();
  #lastToken = 0n;

  constructor({ seed, faults, rules }: LinePlan) {
    this.chance = new Chance(seed);
    this.#faults = new Set(faults);
    this.#server = new LineServer(() => this.time.now, { ...ALL_LINE_RULES, ...rules });
    this.#server.onViolation = (what) => this.#violations.push(what);
    const longest = this.chance.of(0.01, 1, 5, 20);
    const delayMs = () => this.chance.upTo(longest);
    const weather = { delayMs, slow: this.#faults.has('slow') ? 0.05 : 0 };
    this.#processes = Array.from({ length: PROCESSES }, (_, n) => {
      const network = new ModelLine(`p${n}`, this.time, this.chance, weather);
      network.server = this.#server;
      const line = new Line(network, { name: 'model', wakes: 'push' }, `p${n}`);
      return { network, line, callers: 0, state: 'runs' };
    });
    this.#server.call = ({ owner }, inMs) =>
      this.#ownerOf(owner)!.network.call(
        {
          key: KEY,
          owner,
          admission: this.#server.waiting.get(owner)?.place.admission ?? KINDS[0]!,
        },
        inMs,
      );
  }

  async play(): Promise<readonly string[]> {
    for (const process of this.#processes)
      for (let n = 0; n < CALLERS; n += 1) void this.#caller(process);
    this.#schedule();
    const running = (): number =>
      this.#processes.reduce((sum, it) => sum + (it.state === 'crashed' ? 0 : it.callers), 0);
    while (running() > 0 && this.#violations.length === 0) {
      if (!(await this.time.step()) || this.time.now > 900_000)
        this.#violations.push(`L1: ${running()} callers never came back`);
      this.#check();
    }
    await this.#checkRest();
    return this.#violations;
  }

  async #caller(process: Process): Promise<void> {
    process.callers += 1;
    for (let n = 0; n < CALLS && process.state === 'runs'; n += 1) {
      await this.time.sleep(this.chance.of(0, 1, 10, 60) * this.chance.next());
      const admission = this.chance.of(...KINDS);
      const grant = await this.#acquire(process, admission);
      if (grant && process.state === 'runs') await this.#work(process, grant, admission);
    }
    process.callers -= 1;
  }

  async #acquire(process: Process, admission: Admission): Promise<LockGrant | null> {
    const waitTimeMs = this.chance.of(0, 10, 100, 300_000, 300_000);
    const leaseTimeMs = this.chance.of(150, 400, 60_000);
    const abort = new AbortController();
    const aborts = waitTimeMs > 0 && this.chance.happens(0.15);
    if (aborts) this.time.after(this.chance.upTo(60), () => abort.abort(new Error('gone')));
    const request = { key: KEY, admission, leaseTimeMs, waitTimeMs, signal: abort.signal };
    try {
      const grant = await process.line.acquire(request);
      if (grant && abort.signal.aborted) this.#violations.push('S4: a grant after the abort');
      const isPatient = waitTimeMs > 60_000 && process.state === 'runs';
      const mustBeServed = isPatient && !this.#has(LOSES_LEASES);
      if (!grant && mustBeServed) this.#violations.push('L1: a patient caller was not served');
      return grant;
    } catch (error) {
      if (process.state === 'crashed') return null;
      if (process.state === 'closed' && error instanceof LockClosedError) return null;
      const fits =
        error instanceof LockStoreUnavailableError
          ? this.#has(LOSES_CALLS) || waitTimeMs <= 10 // less than a round trip may take
          : aborts;
      if (!fits) this.#violations.push(`unexpected: ${String(error)}`);
      return null;
    }
  }

  async #work(process: Process, grant: LockGrant, admission: Admission): Promise<void> {
    const { fencingToken: token } = grant;
    const era = this.#server.eraOf(grant.owner);
    const inside = { process, grant, admission, era };
    this.#inside.add(inside);
    if (token !== null) this.#checkToken(token);
    for (let n = this.chance.of(1, 1, 3); n > 0 && process.state === 'runs'; n -= 1) {
      await this.time.sleep(this.chance.upTo(this.chance.of(2, 2, 20, 400)));
      if (this.chance.happens(0.3)) await this.#renew(inside);
    }
    if (this.chance.happens(0.02)) await this.time.sleep(500);
    if (process.state !== 'runs') return;
    this.#inside.delete(inside);
    if (this.#faults.has('abandon') && this.chance.happens(0.1)) return process.line.abandon(grant);
    await process.line.release(grant).catch((error: unknown) => this.#allowed(error, process));
  }

  async #renew({ grant, process, era }: Inside): Promise<void> {
    const valid = (): boolean => this.time.now < grant.validUntil;
    if (!valid()) return;
    try {
      const leaseTimeMs = this.chance.of(100, 500, 5_000);
      const [honoured] = await process.line.renew([{ grant, leaseTimeMs }]);
      if (!honoured && valid() && process.state === 'runs' && era === this.#server.era)
        this.#violations.push('S6: a renewal was refused to a valid holder');
    } catch (error) {
      this.#allowed(error, process);
    }
  }

  /** Calls fail where the network does, and where the process has shut down. */
  #allowed(error: unknown, process: Process): void {
    if (this.#has(LOSES_CALLS) || process.state !== 'runs') return;
    this.#violations.push(`unexpected: ${String(error)}`);
  }

  #schedule(): void {
    const happens = (fault: Fault, run: () => void): void => {
      if (!this.#faults.has(fault)) return;
      for (let n = this.chance.of(1, 2, 4); n > 0; n -= 1)
        this.time.after(this.chance.upTo(400), run);
    };
    const any = (): Process => this.chance.of(...this.#processes);
    happens('cut', () => any().network.cut(false));
    happens('late-copy', () => any().network.cut(true));
    happens('inbox', () => any().network.cutInbox());
    happens('flush', () => this.#server.flush());
    happens('crash', () => this.#crash(any()));
    happens('close', () => void this.#close(any()));
  }

  #crash(process: Process): void {
    if (process.state !== 'runs') return;
    if (this.#processes.filter(({ state }) => state === 'runs').length === 1) return;
    process.state = 'crashed';
    process.network.crash();
    // Whoever it was about to call in, or out, depends on a timer now.
    this.#server.unsettle();
    this.#forget(process);
  }

  async #close(process: Process): Promise<void> {
    if (process.state !== 'runs') return;
    process.state = 'closed';
    this.#forget(process);
    await process.line.close();
    await process.network.close();
  }

  #forget(process: Process): void {
    for (const inside of this.#inside) if (inside.process === process) this.#inside.delete(inside);
  }

  #check(): void {
    const valid = [...this.#inside].filter(
      ({ grant, era }) => era === this.#server.era && this.time.now < grant.validUntil,
    );
    const modes = new Set(valid.map(({ admission }) => admission.mode));
    const most = modes.has('exclusive') ? 1 : modes.has('permit') ? PERMITS : Infinity;
    if (modes.size > 1 || valid.length > most)
      this.#violations.push(`S1: ${valid.length} inside as ${[...modes].join(' and ')}`);
    if (this.#has(LOSES_CALLS) || this.#onTheirWay() > 0) return;
    this.#checkOrphans();
    const head = this.#server.head();
    const process = head && this.#ownerOf(head.owner);
    if (!this.#server.settled || process?.state !== 'runs') return;
    if (this.#server.tolerates(head!)) this.#violations.push(`L2: ${head!.owner} sleeps`);
  }

  /** With everything delivered, whoever is inside has a caller. */
  #checkOrphans(): void {
    if (this.#has(LEAVES_HOLDERS)) return;
    const owners = new Set([...this.#inside].map(({ grant }) => grant.owner));
    for (const [owner, { until }] of this.#server.inside)
      if (until > this.time.now && !owners.has(owner))
        this.#violations.push(`S3: ${owner} is inside and has no caller`);
  }

  #checkToken(token: bigint): void {
    const fresh = this.#server.eraOf(token) === this.#server.era;
    if (token <= this.#lastToken && fresh)
      this.#violations.push(`S2: token ${token} after ${this.#lastToken}`);
    if (token > this.#lastToken) this.#lastToken = token;
  }

  /** Everybody is served: nothing may be left behind. */
  async #checkRest(): Promise<void> {
    if (this.#violations.length > 0) return;
    const end = this.time.now + 20_000;
    while (this.time.now < end && (await this.time.step())) this.#check();
    if (this.#has(LEAVES_HOLDERS) || this.#has(LOSES_CALLS)) return;
    const left = [...this.#server.waiting.keys(), ...this.#server.inside.keys()];
    if (left.length > 0) this.#violations.push(`L3: left behind: ${left.join(', ')}`);
  }

  #ownerOf(owner: string): Process | undefined {
    return this.#processes.find(({ network }) => owner.startsWith(`${network.process}:`));
  }

  #onTheirWay(): number {
    return this.#processes.reduce((sum, { network }) => sum + network.onTheirWay, 0);
  }

  #has(faults: readonly Fault[]): boolean {
    return faults.some((fault) => this.#faults.has(fault));
  }
}
