import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import {
  commandText,
  type LockCommand,
} from '../../src/distributed-lock/store/redis/redis.batches.js';
import {
  type ScriptConnection,
  withScripts,
} from '../../src/distributed-lock/store/redis/redis.scripts.js';
import { until } from '../support/until.js';

interface AcquireArguments {
  readonly leaseMs?: number;
  readonly wait?: boolean;
  readonly more?: boolean;
  readonly seen?: number | string;
  readonly since?: string;
}

interface LeaveArguments {
  readonly more?: boolean;
  readonly patienceMs?: number;
  readonly claimMs?: number;
  /** How long a turn is offered to a process that is woken; `0` never. */
  readonly offerMs?: number;
  /** Whether receivers of a message can be counted. */
  readonly counted?: boolean;
}

interface EnterArguments {
  readonly leaseMs?: number;
  readonly wait?: boolean;
  readonly since?: string;
  readonly seen?: number | string;
  readonly claimMs?: number;
  /** Whether receivers of a message can be counted. */
  readonly counted?: boolean;
}

export type AcquireReply = readonly [1, string] | readonly [0, number, string, string];

const flag = (on = false): string => (on ? '1' : '0');

/** The scripts of one lock, called directly. Takes its keys away at the end. */
export class ScriptedLock {
  readonly client: Redis & ScriptConnection;
  readonly #prefix = `t-${randomUUID().slice(0, 8)}:`;
  readonly lock = `${this.#prefix}{k}:lock`;
  readonly fence = `${this.#prefix}fence`;
  readonly waiting = `${this.#prefix}{k}:wait`;
  readonly inbox = `${this.#prefix}inbox:`;
  readonly held = `${this.#prefix}{k}:held`;
  readonly #listeners = new Map<string, Redis>();
  readonly #heard = new Map<string, number>();
  /** What reached the processes, in order. */
  readonly messages: string[] = [];
  /** The last turn that had begun, as the last busy answer said. */
  given = '';
  /** Whether it said that the key is kept for the process that asked. */
  isOffered = false;

  constructor(private readonly url: string) {
    this.client = withScripts(new Redis(url));
  }

  async acquire(owner: string, process: string, it: AcquireArguments = {}): Promise<AcquireReply> {
    const queue = it.more ? '2' : it.wait ? '1' : '0';
    const { leaseMs = 10_000, since } = it;
    const command = { command: 'acquire', queue, leaseMs, since: since ?? null } as const;
    const reply = await this.#command(command, owner, process, it);
    if (typeof reply === 'string') return [1, reply];
    const [pttlMs, holder, place, ...rest] = reply as [number, string, string, string, number];
    this.given = rest[0];
    this.isOffered = rest[1] === 1;
    return [0, pttlMs, holder, place];
  }

  /** @returns whether the key was the owner's (1, 0 or -1; or what the process was offered), and how many processes were woken. */
  async release(
    owner: string,
    process: string,
    it: LeaveArguments = {},
  ): Promise<readonly [number | string, number]> {
    const command = { command: 'release', queue: it.more ? '2' : '0' } as const;
    const reply = (await this.#command(command, owner, process, it)) as number | string | [number];
    return Array.isArray(reply) ? [reply[0], 1] : [reply, 0];
  }

  pass(
    owner: string,
    process: string,
    it: LeaveArguments & AcquireArguments = {},
  ): Promise<unknown> {
    const { leaseMs = 10_000 } = it;
    return this.#command({ command: 'pass', queue: '2', leaseMs }, owner, process, it);
  }

  /** @returns whether the turn is the owner's. */
  async renew(turn: string, owner: string, leaseMs: number): Promise<boolean> {
    const gone = await this.client.lockRenew([1, this.lock, leaseMs, `${turn}:${owner}`]);
    return (gone as number[]).length === 0;
  }

  /** @param place such as `x:p1.line:1`, `s:p1.line:1`, `p3:p1.line:1`. */
  enter(place: string, it: EnterArguments = {}): Promise<AcquireReply> {
    const args = [it.leaseMs ?? 10_000, flag(it.wait), it.since ?? '0', it.seen ?? 0];
    return this.client.lineEnter(
      this.lock,
      this.waiting,
      ...nameOf(place),
      ...args,
      ...this.#calling(it),
    ) as Promise<AcquireReply>;
  }

  leave(place: string, it: EnterArguments = {}): Promise<unknown> {
    return this.client.lineLeave(this.lock, this.waiting, ...nameOf(place), ...this.#calling(it));
  }

  /** @param value what the lock key must hold. */
  stay(value: string, owner: string, leaseMs: number): Promise<unknown> {
    return this.client.lineStay(2, this.lock, this.held, value, owner, leaseMs);
  }

  /** Ends every hold. */
  evict(): Promise<unknown> {
    return this.client.lockEvict(this.lock, this.waiting, ...this.#calling({}));
  }

  stateOf(process = ''): Promise<unknown> {
    return this.client.lockState(this.lock, this.waiting, process);
  }

  /** Who is inside of those that are not alone, by the end of their leases. */
  holders(): Promise<string[]> {
    return this.client.zrange(this.held, 0, -1);
  }

  ttl(): Promise<number> {
    return this.client.pttl(this.lock);
  }

  value(): Promise<string | null> {
    return this.client.get(this.lock);
  }

  /** Who waits, longest first. */
  queue(): Promise<string[]> {
    return this.client.zrange(this.waiting, 0, -1);
  }

  /** From now on the process can be woken. */
  async listen(process: string): Promise<void> {
    const client = new Redis(this.url);
    client.on('message', (_channel: string, message: string) => {
      if (message === '') return; // whether it lives
      this.#heard.set(process, this.heard(process) + 1);
      this.messages.push(`${process} ${message}`);
    });
    await client.subscribe(this.inbox + process);
    this.#listeners.set(process, client);
  }

  /** Wake-ups that reached the process. */
  heard(process: string): number {
    return this.#heard.get(process) ?? 0;
  }

  hears(process: string, count = 1): Promise<void> {
    return until(`wake-up ${count} of ${process}`, () => this.heard(process) === count);
  }

  /** The process dies; its place in the queue stays. */
  async kill(process: string): Promise<void> {
    this.#listeners.get(process)?.disconnect();
    this.#listeners.delete(process);
    await until(
      `${process} to be gone`,
      async () => (await this.client.pubsub('NUMSUB', this.inbox + process))[1] === 0,
    );
  }

  async close(): Promise<void> {
    for (const client of this.#listeners.values()) client.disconnect();
    await this.client.del(this.lock, this.fence, this.waiting, this.held);
    this.client.disconnect();
  }

  #calling({ counted = true, claimMs = 2_000 }: EnterArguments): (string | number)[] {
    return [this.inbox, 'k', flag(counted), claimMs];
  }

  async #command(
    command: Omit<LockCommand, 'key' | 'owner'>,
    owner: string,
    process: string,
    it: LeaveArguments & AcquireArguments,
  ): Promise<unknown> {
    const keys = [this.fence, this.lock, this.waiting];
    const { seen = '0', patienceMs = 100, claimMs = 2_000, offerMs = 0, counted = true } = it;
    const times = `${patienceMs * 1_000}:${claimMs}:${offerMs}`;
    const about = `${process}:${times}:${flag(counted)}:${this.inbox}`;
    const { leaseMs = 0 } = command;
    const args = [about, String(seen), leaseMs, commandText({ ...command, owner }, leaseMs)];
    const call = [keys.length, ...keys, ...args];
    const [answer] = (await this.client.lockBatch(call)) as unknown[];
    if (answer instanceof Error) throw answer;
    return answer;
  }
}

/** Kind, limit and owner. */
function nameOf(place: string): readonly string[] {
  const [, kind, limit, owner] = /^([xsp])(\d*):(.+)$/.exec(place)!;
  return [kind!, limit!, owner!];
}
