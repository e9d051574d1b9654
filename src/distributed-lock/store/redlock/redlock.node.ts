import type { Redis } from 'ioredis';
import { now } from '../../distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import type { LockKey } from '../../key/lock-key.js';
import {
  keyPrefixOf,
  ownConnection,
  type RedisConnection,
} from '../redis-client/redis.connection.js';
import { within } from '../redis-client/redis.deadline.js';
import { redisError } from '../redis-client/redis.errors.js';
import { RedisKeyspace } from '../redis-client/redis.keys.js';
import { defineScripts } from '../redis-client/redis.script-loader.js';
import { SilenceWatch } from '../redis-client/redis.silence.js';
import { checkNode, type NodeIdentity } from './redlock.identity.js';

export interface Vote {
  readonly granted: boolean;
  /** Owner id in the key, where it is another's. */
  readonly holder: string | null;
}

export type Renewed = 'held' | 'gone' | 'taken';

export interface NodeLease {
  readonly key: LockKey;
  readonly owner: string;
  readonly leaseMs: number;
}

interface Debt {
  readonly key: LockKey;
  readonly owner: string;
  /** The lease is over by then, on the scale of `distributed-lock.clock.ts`. */
  readonly until: number;
  /** Until when the key is to stay closed, on the same scale; `0` frees it. */
  readonly keepUntil: number;
}

interface LockScripts {
  redlockAcquire(lock: string, owner: string, leaseMs: number): Promise<unknown>;
  redlockRelease(lock: string, owner: string, keepForMs: number): Promise<unknown>;
  redlockRenew(keyCount: number, ...keysAndArgs: (string | number)[]): Promise<unknown>;
}

const SCRIPTS = {
  redlockAcquire: { file: 'acquire', numberOfKeys: 1 },
  redlockRelease: { file: 'release', numberOfKeys: 1 },
  redlockRenew: { file: 'renew', numberOfKeys: undefined },
} as const;

const SILENT_MS = 2_000;
const REPEAT_MS = 250;

/** What a node tells its store. */
export interface NodeListener {
  /** @throws {LockConfigurationError} if this server is one of the other nodes. */
  identified(node: RedlockNode, identity: NodeIdentity): void;
  /** The node can be asked (again). */
  usable(): void;
}

/** One of the independent servers. Its commands go on until they are answered or the connection is lost; the caller limits its patience. */
export class RedlockNode {
  readonly name: string;
  readonly #client: Redis & LockScripts;
  readonly #keyspace: RedisKeyspace;
  readonly #silence: SilenceWatch;
  /** Releases that this server has not confirmed. */
  readonly #owed = new Set<Debt>();
  readonly #underWay = new Set<Promise<unknown>>();
  #repeat: NodeJS.Timeout | null = null;
  /** The server behind the present connection was checked. */
  #checked = false;
  /** Why the server cannot be used, whatever is tried. */
  #trouble: LockConfigurationError | null = null;

  constructor(
    connection: RedisConnection,
    namespace: string,
    private readonly listener: NodeListener,
  ) {
    const client = ownConnection(connection, 'redlock');
    defineScripts(client, new URL('./scripts/', import.meta.url), SCRIPTS);
    this.#client = client as Redis & LockScripts;
    this.#keyspace = new RedisKeyspace(keyPrefixOf(connection), namespace);
    this.#silence = new SilenceWatch(client, SILENT_MS);
    const { host, port, path, name } = client.options;
    this.name = path ?? name ?? `${host}:${port}`;
  }

  /** Resolves when the first attempt to connect has ended, well or not. It goes on trying. */
  connect(): Promise<void> {
    const client = this.#client;
    return new Promise((resolve) => {
      client.on('error', (error: unknown) => {
        const refused = redisError(error, null);
        if (refused instanceof LockConfigurationError) this.#trouble = refused;
        resolve();
      });
      client.on('close', () => (this.#checked = false));
      client.on('ready', () => void this.#check().then(resolve));
      client.connect().catch(() => undefined); // told by the 'error' event
    });
  }

  get isUsable(): boolean {
    return this.#checked && this.#trouble === null;
  }

  get trouble(): LockConfigurationError | null {
    return this.#trouble;
  }

  async acquire({ key, owner, leaseMs }: NodeLease): Promise<Vote> {
    this.#mustBeUsable();
    const { lock } = this.#keyspace.of(key);
    const reply = await this.#send(() => this.#client.redlockAcquire(lock, owner, leaseMs));
    const [granted, holder] = reply as [number, string?];
    return { granted: granted === 1, holder: holder ?? null };
  }

  async renew(leases: readonly NodeLease[]): Promise<readonly Renewed[]> {
    this.#mustBeUsable();
    const locks = leases.map(({ key }) => this.#keyspace.of(key).lock);
    const values = leases.flatMap(({ owner, leaseMs }) => [owner, leaseMs]);
    const reply = await this.#send(() =>
      this.#client.redlockRenew(locks.length, ...locks, ...values),
    );
    return (reply as number[]).map((it) => (it === 1 ? 'held' : it === 0 ? 'gone' : 'taken'));
  }

  /**
   * Frees the key; repeated in the background until the server has heard it, or the lease is over. The owner id must not be used again.
   *
   * @param keepForMs keeps it closed for so long first.
   * @returns whether it was the owner's until now.
   */
  release({ key, owner, leaseMs }: NodeLease, keepForMs = 0): Promise<boolean> {
    const at = now();
    const keepUntil = keepForMs > 0 ? at + keepForMs : 0;
    return this.#pay({ key, owner, until: at + leaseMs, keepUntil });
  }

  /** Leaves a connection that stays silent. @param sentAt on the scale of `performance.now()`. */
  unanswered(sentAt: number): void {
    this.#silence.unanswered(sentAt);
  }

  /** Lets releases that are under way be answered, for `patienceMs` at most, and closes the connection. */
  async close(patienceMs: number): Promise<void> {
    const told = Promise.allSettled(this.#underWay);
    if (this.#client.status === 'ready') await within(told, patienceMs, '').catch(() => undefined);
    if (this.#repeat) clearTimeout(this.#repeat);
    this.#owed.clear();
    this.#checked = false;
    this.#client.disconnect();
  }

  async #check(): Promise<void> {
    const sentAt = performance.now();
    try {
      const checks = checkNode(this.#client, this.name);
      const identity = await within(checks, SILENT_MS, 'silent');
      this.listener.identified(this, identity);
      await this.#probe();
      this.#trouble = null;
      this.#checked = true;
      this.#repeatNow();
      this.listener.usable();
    } catch (error) {
      if (error instanceof LockConfigurationError) this.#trouble = error;
      else this.#silence.unanswered(sentAt);
    }
  }

  /** Finds missing permissions. The first use of a script on a socket is an EVAL, the second an EVALSHA. */
  async #probe(): Promise<void> {
    const { lock } = this.#keyspace.of(`boot:${this.name}` as LockKey);
    try {
      for (const _command of ['EVAL', 'EVALSHA']) {
        await this.#send(() => this.#client.redlockAcquire(lock, 'boot', 1_000));
        await this.#send(() => this.#client.redlockRenew(1, lock, 'boot', 2_000));
        await this.#send(() => this.#client.redlockRelease(lock, 'boot', 0));
      }
    } catch (error) {
      // Out of memory and the like pass; held locks are served meanwhile.
      if (error instanceof LockConfigurationError) throw error;
    }
  }

  async #pay(debt: Debt): Promise<boolean> {
    this.#owed.add(debt);
    const { lock } = this.#keyspace.of(debt.key);
    const keepForMs = Math.max(Math.ceil(debt.keepUntil - now()), 0);
    const answer = this.#send(() => this.#client.redlockRelease(lock, debt.owner, keepForMs));
    this.#underWay.add(answer);
    try {
      const freed = await answer;
      this.#owed.delete(debt);
      return freed === 1;
    } catch (error) {
      // On the next connection at once, else soon: the server is there, and busy with something.
      if (this.#client.status === 'ready') {
        this.#repeat ??= setTimeout(() => this.#repeatNow(), REPEAT_MS).unref();
      }
      throw error;
    } finally {
      this.#underWay.delete(answer);
    }
  }

  #repeatNow(): void {
    if (this.#repeat) clearTimeout(this.#repeat);
    this.#repeat = null;
    const owed = [...this.#owed];
    this.#owed.clear();
    for (const debt of owed) {
      if (now() < debt.until) this.#pay(debt).catch(() => undefined); // owed still
    }
  }

  #mustBeUsable(): void {
    if (this.#trouble) throw this.#trouble;
    if (!this.#checked) throw new LockStoreUnavailableError('redlock', null, 'not connected');
  }

  async #send(command: () => Promise<unknown>): Promise<unknown> {
    try {
      const answer = await command();
      this.#silence.heard();
      return answer;
    } catch (error) {
      throw redisError(error, null);
    }
  }
}
