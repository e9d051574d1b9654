import { LockClosedError, LockStoreUnavailableError } from '../../distributed-lock.errors.js';
import { now } from '../../distributed-lock.clock.js';
import type { LockKey } from '../../key/lock-key.js';
import type {
  AcquireRequest,
  KeyState,
  LockGrant,
  LockStore,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from '../lock-store.js';
import { Contender, type ContenderHost, isShared } from './contender.js';
import { Contenders } from './contenders.js';
import { Directories } from './directories.js';
import type { LockLayout } from './lock-layout.js';
import type { LockView } from './lock-view.js';
import { overLosses, type QueueNode } from './queue-node.js';
import { hasCode, storeError } from './zookeeper.errors.js';
import { ZooKeeperGrant } from './zookeeper.grant.js';
import { endHolds, stateOf } from './zookeeper.operator.js';
import { nodeName } from './zookeeper.paths.js';
import { Postponed } from '../postponed.js';
import type { SessionEnd, SessionListener, ZooKeeperSession } from './zookeeper.session.js';

export interface ZooKeeperStoreSettings {
  readonly layout: LockLayout;
  readonly view: LockView;
  /** Directory of all keys of a namespace. */
  baseOf(namespace: string): string;
  openSession(listener: SessionListener): ZooKeeperSession;
}

/** Locks as ephemeral nodes of one session. Every caller has its own place in ZooKeeper's queue: first come, first served, over all processes. */
export class ZooKeeperLockStore implements LockStore, ContenderHost {
  readonly traits: StoreTraits = {
    name: 'zookeeper',
    ownership: 'session',
    fencing: 'store-wide',
    fair: 'fifo',
    wakes: 'push',
    reach: 'server',
    offers: ['shared'],
    keeps: 'process',
    showsHolders: 'owner-and-token',
    forceRelease: 'hold',
  };
  readonly layout: LockLayout;
  readonly #contenders = new Contenders();
  readonly #grants = new Set<ZooKeeperGrant>();
  /** The same by key. */
  readonly #held = new Map<LockKey, Set<ZooKeeperGrant>>();
  /** Locks that are left to their lease on purpose, with the timers that end it. */
  readonly #abandoned = new Map<QueueNode, NodeJS.Timeout>();
  /** Removals of nodes that keep their keys closed. */
  readonly #kept = new Postponed();
  #base = '';
  #session: ZooKeeperSession | null = null;
  #directories: Directories | null = null;
  #closed = false;

  constructor(private readonly settings: ZooKeeperStoreSettings) {
    this.layout = settings.layout;
  }

  get session(): ZooKeeperSession {
    return this.#session!;
  }

  get directories(): Directories {
    return this.#directories!;
  }

  async open(namespace: string, timeoutMs: number): Promise<void> {
    this.#closed = false;
    this.#base = this.settings.baseOf(namespace);
    this.#connect();
    const { session } = this;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        const detail = session.trouble ?? `no answer within ${timeoutMs} ms`;
        reject(new LockStoreUnavailableError('zookeeper', null, detail));
      }, timeoutMs);
    });
    try {
      await Promise.race([this.#prepare(), late]);
    } catch (error) {
      throw storeError(error, null);
    } finally {
      clearTimeout(timer);
    }
  }

  async acquire(request: AcquireRequest): Promise<LockGrant | null> {
    const { key, signal } = request;
    if (this.#closed) throw new LockClosedError(key);
    signal?.throwIfAborted();
    if (!this.#session) throw new LockStoreUnavailableError('zookeeper', key, 'not opened yet');
    if (request.waitTimeMs === 0 && this.#isTakenHere(request)) return null;
    const contender = new Contender(request, this.#pathOf(key), this);
    this.#contenders.add(contender);
    try {
      return await contender.run();
    } finally {
      this.#contenders.remove(contender);
    }
  }

  /** One round trip for all of them: the session carries them together, and removed nodes are told by their watches. */
  async renew(renewals: readonly Renewal[]): Promise<readonly boolean[]> {
    const watched: Promise<void>[] = [];
    for (const { grant, leaseTimeMs } of renewals) {
      if (!this.#isHeld(grant)) continue;
      grant.leaseTimeMs = Math.max(grant.leaseTimeMs, leaseTimeMs);
      watched.push(grant.watched());
    }
    if (watched.length > 0) await Promise.all([this.#confirm(), ...watched]);
    return renewals.map(({ grant }) => this.#isHeld(grant) && now() < grant.validUntil);
  }

  async release(grant: LockGrant, keepForMs = 0): Promise<ReleaseResult> {
    if (!this.#isHeld(grant)) return 'not-held';
    const { node } = grant;
    this.#forget(grant);
    if (keepForMs > 0) {
      this.#kept.in(keepForMs, () => node.remove().catch(() => undefined)); // goes on by itself, or the session ends it
      return 'released';
    }
    try {
      return (await node.remove()) ? 'released' : 'not-held';
    } catch (error) {
      throw storeError(error, grant.key);
    }
  }

  abandon(grant: LockGrant): void {
    if (!this.#isHeld(grant)) return;
    const { node, leaseTimeMs } = grant;
    this.#forget(grant);
    const timer = setTimeout(() => {
      this.#abandoned.delete(node);
      node.remove().catch(() => undefined); // goes on by itself, or the session ends it
    }, leaseTimeMs);
    this.#abandoned.set(node, timer.unref());
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return this.#asked(key, (session) => stateOf(session, this.settings.view, this.#pathOf(key)));
  }

  async forceRelease(key: LockKey): Promise<number> {
    const { view } = this.settings;
    const ended = await this.#asked(key, (session) => endHolds(session, view, this.#pathOf(key)));
    // Those of this process that are too young to have a watch.
    await Promise.all([...(this.#held.get(key) ?? [])].map((grant) => grant.watched()));
    return ended;
  }

  stop(): void {
    this.#closed = true;
    for (const contender of this.#contenders.all())
      contender.leave(new LockClosedError(contender.request.key));
  }

  async close(): Promise<void> {
    this.stop();
    await this.#kept.now();
    const grants = [...this.#grants];
    for (const grant of grants) {
      this.#forget(grant);
      grant.lose('closed');
    }
    if (this.#abandoned.size === 0) return this.#session?.close();
    // The end of the session would free what must stay closed. It is left to its timeout.
    for (const timer of this.#abandoned.values()) clearTimeout(timer);
    this.#abandoned.clear();
    await Promise.allSettled(grants.map((grant) => grant.node.remove()));
    this.#session?.drop();
  }

  grant(request: AcquireRequest, node: QueueNode): ZooKeeperGrant {
    const { key, leaseTimeMs } = request;
    const grant = new ZooKeeperGrant(key, node, leaseTimeMs, isShared(request), (gone) => {
      this.#forget(gone);
      gone.lose('taken-over');
    });
    this.#grants.add(grant);
    const held = this.#held.get(key);
    if (held) held.add(grant);
    else this.#held.set(key, new Set([grant]));
    return grant;
  }

  /** Whether a try need not ask the server: a caller of this process is in the way. */
  #isTakenHere(request: AcquireRequest): boolean {
    const { key } = request;
    const shared = isShared(request);
    for (const grant of this.#held.get(key) ?? []) if (!(shared && grant.isShared)) return true;
    return this.#contenders.isInTheWay(key, shared);
  }

  #connect(): void {
    const session = this.settings.openSession({
      suspended: () => {
        for (const contender of this.#contenders.all()) contender.suspended();
      },
      ended: (reason) => this.#ended(session, reason),
    });
    this.#session = session;
    this.#directories = new Directories(session, this.#base);
  }

  #ended(session: ZooKeeperSession, reason: SessionEnd): void {
    for (const node of this.#abandoned.keys()) {
      if (node.session !== session) continue;
      clearTimeout(this.#abandoned.get(node));
      this.#abandoned.delete(node);
    }
    // First the new session: holders and waiters may ask for the key again at once.
    if (reason === 'expired' && !this.#closed) this.#connect();
    for (const grant of this.#grants) {
      if (grant.node.session !== session) continue;
      this.#forget(grant);
      grant.lose('session-ended');
    }
  }

  /** Makes the directory of all keys, and makes sure that this process may make nodes there. */
  async #prepare(): Promise<void> {
    const { session, directories } = this;
    await overLosses(session, async () => {
      await directories.makeBase();
      const probe = await session.create(`${this.#base}/probe-`, 'ephemeral-sequential');
      await session.delete(probe.path);
    });
  }

  #pathOf(key: LockKey): string {
    return `${this.#base}/${nodeName(key)}`;
  }

  async #asked<T>(key: LockKey, ask: (session: ZooKeeperSession) => Promise<T>): Promise<T> {
    try {
      if (this.#session?.trouble === null) return await ask(this.#session);
    } catch (error) {
      throw storeError(error, key);
    }
    const detail = this.#session?.trouble ?? 'not opened yet';
    throw new LockStoreUnavailableError('zookeeper', key, detail);
  }

  async #confirm(): Promise<void> {
    try {
      await this.session.confirm();
    } catch (error) {
      // A session that is over is an answer: its grants are gone.
      if (!hasCode(error, 'SessionExpired')) throw storeError(error, null);
    }
  }

  #isHeld(grant: LockGrant): grant is ZooKeeperGrant {
    return this.#grants.has(grant as ZooKeeperGrant);
  }

  #forget(grant: ZooKeeperGrant): void {
    this.#grants.delete(grant);
    grant.end();
    const held = this.#held.get(grant.key);
    held?.delete(grant);
    if (held?.size === 0) this.#held.delete(grant.key);
  }
}
