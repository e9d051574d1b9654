import type { ConnectionOptions } from 'node:tls';
import { now } from '../../../distributed-lock.clock.js';
import { ZooKeeperError } from '../zookeeper.errors.js';
import type {
  CreatedNode,
  NodeKind,
  NodeStat,
  SessionEnd,
  SessionListener,
  WatchListener,
  ZooKeeperSession,
} from '../zookeeper.session.js';
import type { ServerAddress } from './connect-string.js';
import { Connection, type ConnectionListener, type NodeEvent, type Welcome } from './connection.js';
import { Liveness } from './liveness.js';
import * as operations from './operations.js';
import { ServerList } from './server-list.js';
import { Signal } from './signal.js';
import { Watches } from './watches.js';

export interface SessionSettings {
  readonly servers: readonly ServerAddress[];
  readonly chroot: string;
  /** Asked for; the server may choose another. */
  readonly timeoutMs: number;
  readonly auth: readonly { readonly scheme: string; readonly credentials: Buffer }[];
  readonly acl: readonly operations.WireAcl[];
  readonly tls: ConnectionOptions | null;
  /** Written into every node, for people who look. */
  readonly label: Buffer;
}

const SHORTEST_DIAL_MS = 200;
const LONGEST_GOODBYE_MS = 1_000;
const EVENT_DELETED = 2;

/** A session over ZooKeeper's own protocol, on one connection at a time. Begins to dial at once. */
export class WireSession implements ZooKeeperSession, ConnectionListener {
  readonly #servers: ServerList;
  readonly #watches = new Watches();
  readonly #liveness: Liveness;
  #connection: Connection;
  #connected = new Signal();
  #id = 0n;
  #password: Buffer = Buffer.alloc(0);
  #timeoutMs: number;
  #lastZxid = 0n;
  #trouble: string | null = 'not connected yet';
  #end: SessionEnd | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly settings: SessionSettings,
    private readonly listener: SessionListener,
  ) {
    this.#servers = new ServerList(settings.servers);
    this.#timeoutMs = settings.timeoutMs;
    this.#liveness = new Liveness(settings.timeoutMs);
    this.#connection = this.#dial();
  }

  get trouble(): string | null {
    return this.#trouble;
  }

  get validUntil(): number {
    return this.#liveness.validUntil;
  }

  whenConnected(): Promise<void> {
    return this.#connected.promise;
  }

  async create(path: string, kind: NodeKind): Promise<CreatedNode> {
    const { acl, label, chroot } = this.settings;
    const node = await this.#send(operations.createNode(chroot + path, kind, label, acl));
    return { ...node, path: node.path.slice(chroot.length) };
  }

  delete(path: string): Promise<void> {
    return this.#send(operations.deleteNode(this.settings.chroot + path));
  }

  stat(path: string): Promise<NodeStat> {
    return this.#send(operations.statNode(this.settings.chroot + path));
  }

  getChildren(path: string): Promise<readonly string[]> {
    return this.#send(operations.childrenOf(this.settings.chroot + path));
  }

  watch(path: string, listener: WatchListener): Promise<void> {
    const watched = this.settings.chroot + path;
    // Inside `read`: an event may follow in the same packet, before any promise has been told.
    const read = (): void => this.#watches.add(watched, listener);
    return this.#send({ ...operations.watchNode(watched), read });
  }

  unwatch(path: string, listener: WatchListener): void {
    this.#watches.remove(this.settings.chroot + path, listener);
  }

  confirm(): Promise<void> {
    return this.#send(operations.sync());
  }

  async close(): Promise<void> {
    if (this.#end === null && this.#id !== 0n) {
      const goodbye = this.whenConnected().then(() => this.#send(operations.closeSession()));
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, LONGEST_GOODBYE_MS);
      });
      await Promise.race([goodbye.catch(() => undefined), late]);
      clearTimeout(timer);
    }
    this.#finish('closed');
  }

  drop(): void {
    this.#finish('closed');
  }

  welcomed({ id, password, timeoutMs, sentAt }: Welcome): void {
    if (timeoutMs <= 0) {
      // Not expired: there was none yet. A server that gives no session is asked again later, like one that is not there.
      if (this.#id === 0n) return this.#connection.close('the server gives no new session');
      return this.#finish('expired');
    }
    this.#id = id;
    this.#password = password;
    this.#timeoutMs = timeoutMs;
    this.#liveness.begins(timeoutMs, sentAt);
    this.#servers.answered();
    const { auth } = this.settings;
    for (const { scheme, credentials } of auth) this.#connection.authenticate(scheme, credentials);
    for (const paths of this.#watches.packets())
      this.#connection.restoreWatches(this.#lastZxid, paths);
    this.#trouble = null;
    this.#connected.resolve();
    this.#schedule(() => this.#beat(), this.#liveness.heartbeatMs);
  }

  changed({ type, path }: NodeEvent): void {
    this.#watches.tell(path, type === EVENT_DELETED ? 'deleted' : 'changed');
  }

  answered(operation: operations.Operation<unknown>, sentAt: number, zxid: bigint): void {
    if (zxid > this.#lastZxid) this.#lastZxid = zxid;
    if (operation.viaLeader) this.#liveness.confirmed(sentAt);
  }

  refused(error: ZooKeeperError): void {
    const { code, message } = error;
    if (code === 'SessionExpired') this.#finish('expired');
    if (code === 'AuthFailed' || code === 'SessionClosedRequireSaslAuth')
      this.#finish('auth-failed');
    // Another connection carries the session: one that this process has given up, and whose server did not know it yet.
    if (code === 'SessionMoved') this.#connection.close(message);
  }

  closed(reason: string): void {
    if (this.#end !== null) return;
    const wasConnected = this.#trouble === null;
    this.#trouble = reason;
    if (wasConnected) {
      this.#connected = new Signal();
      this.listener.suspended();
    }
    this.#schedule(() => (this.#connection = this.#dial()), this.#servers.failed());
  }

  #dial(): Connection {
    // All servers get their chance in the time that silence leaves.
    const share = this.#liveness.silenceMs / this.#servers.size;
    return new Connection(
      this.#servers.next(),
      {
        id: this.#id,
        password: this.#password,
        timeoutMs: this.#timeoutMs,
        lastZxid: this.#lastZxid,
      },
      { timeoutMs: Math.max(share, SHORTEST_DIAL_MS), tls: this.settings.tls },
      this,
    );
  }

  #beat(): void {
    const { heartbeatMs, silenceMs } = this.#liveness;
    const silentFor = now() - this.#connection.waitingSince;
    if (silentFor >= silenceMs - 1)
      return this.#connection.close(`no answer for ${Math.round(silentFor)} ms`);
    this.#schedule(() => this.#beat(), heartbeatMs);
    this.confirm().catch(() => undefined); // a lost connection tells so by itself
  }

  async #send<T>(operation: operations.Operation<T>): Promise<T> {
    if (this.#end !== null) throw this.#over(operation.name);
    if (this.#trouble !== null)
      throw new ZooKeeperError('ConnectionLoss', operation.name, this.#trouble);
    try {
      return await this.#connection.send(operation);
    } catch (error) {
      if (this.#end !== null) throw this.#over(operation.name);
      throw error;
    }
  }

  #over(operation: string): ZooKeeperError {
    const code = this.#end === 'auth-failed' ? 'AuthFailed' : 'SessionExpired';
    return new ZooKeeperError(code, operation, `the session is over: ${this.#end}`);
  }

  #finish(reason: SessionEnd): void {
    if (this.#end !== null) return;
    this.#end = reason;
    this.#trouble = `the session is over: ${reason}`;
    this.#liveness.ended();
    if (this.#timer) clearTimeout(this.#timer);
    this.#connection.close(this.#trouble);
    this.listener.ended(reason);
    this.#connected.reject(this.#over('connect'));
    this.#watches.tellAll('session-ended');
  }

  #schedule(work: () => void, ms: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(work, ms);
    this.#timer.unref();
  }
}
