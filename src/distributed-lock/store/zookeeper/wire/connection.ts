import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { now } from '../../../distributed-lock.clock.js';
import { ZooKeeperError } from '../zookeeper.errors.js';
import type { ServerAddress } from './connect-string.js';
import { FrameSplitter } from './frames.js';
import { JuteReader, JuteWriter } from './jute.js';
import type { Operation } from './operations.js';

/** What the client says first: a session to go on with, or none (`id` `0n`). */
export interface SessionTicket {
  readonly id: bigint;
  readonly password: Buffer;
  readonly timeoutMs: number;
  /** A server that has seen less than this turns the client away. */
  readonly lastZxid: bigint;
}

/** The server's answer. `timeoutMs` is 0 or less where the session has expired. */
export interface Welcome {
  readonly id: bigint;
  readonly password: Buffer;
  readonly timeoutMs: number;
  /** When the ticket was sent, on the scale of `distributed-lock.clock.ts`. */
  readonly sentAt: number;
}

/** Type of a watch event: 1 created, 2 deleted, 3 data changed, 4 children changed. */
export interface NodeEvent {
  readonly type: number;
  readonly path: string;
}

export interface ConnectionListener {
  welcomed(welcome: Welcome): void;
  changed(event: NodeEvent): void;
  /** An operation was executed. */
  answered(operation: Operation<unknown>, sentAt: number, zxid: bigint): void;
  refused(error: ZooKeeperError): void;
  /** Told once, after everything that was under way has been rejected with `ConnectionLoss`. */
  closed(reason: string): void;
}

interface Pending {
  readonly xid: number;
  readonly operation: Operation<unknown>;
  readonly sentAt: number;
  resolve(value: unknown): void;
  readonly reject: (error: ZooKeeperError) => void;
}

const PASSWORD_BYTES = 16;
/** Request numbers with a meaning of their own. */
const XID = { event: -1, auth: -4, setWatches: -8 } as const;
const LAST_XID = 0x7fffffff;

/** One connection to one server, from the greeting to its end. Answers come in the order of the requests. */
export class Connection {
  readonly #socket: Socket;
  readonly #frames = new FrameSplitter();
  readonly #pending: Pending[] = [];
  readonly #dialTimer: NodeJS.Timeout;
  #ticketSentAt = 0;
  #isOpen = false;
  #isClosed = false;
  #xid = 0;

  constructor(
    readonly server: ServerAddress,
    ticket: SessionTicket,
    dialing: { readonly timeoutMs: number; readonly tls: ConnectionOptions | null },
    private readonly listener: ConnectionListener,
  ) {
    const { tls, timeoutMs } = dialing;
    const socket = tls ? connectTls({ ...server, ...tls }) : connectTcp({ ...server });
    this.#socket = socket.setNoDelay(true);
    socket.on(tls ? 'secureConnect' : 'connect', () => this.#greet(ticket));
    socket.on('data', (bytes) => this.#receive(bytes));
    socket.on('error', (error) => this.close(error.message));
    socket.on('close', () => this.close('the server closed the connection'));
    this.#dialTimer = setTimeout(() => this.close('no answer while connecting'), timeoutMs);
    this.#dialTimer.unref();
  }

  /** When the oldest request without an answer was sent; `Infinity` where there is none. */
  get waitingSince(): number {
    return this.#pending[0]?.sentAt ?? Infinity;
  }

  send<T>(operation: Operation<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#isClosed) return reject(new ZooKeeperError('ConnectionLoss', operation.name));
      this.#xid = (this.#xid % LAST_XID) + 1;
      const xid = this.#xid;
      const request = new JuteWriter().int(xid).int(operation.code);
      operation.write(request);
      this.#pending.push({
        xid,
        operation,
        sentAt: now(),
        resolve,
        reject,
      });
      this.#socket.write(request.frame());
    });
  }

  /** Its answer matters only when it is a refusal, which {@link ConnectionListener.refused} is told. */
  authenticate(scheme: string, credentials: Buffer): void {
    const request = new JuteWriter().int(XID.auth).int(100).int(0);
    this.#socket.write(request.text(scheme).buffer(credentials).frame());
  }

  /** Watches that an earlier connection had; what happened to these nodes since `zxid` is told now. */
  restoreWatches(zxid: bigint, paths: readonly string[]): void {
    const request = new JuteWriter().int(XID.setWatches).int(101).long(zxid);
    request.list(paths, (path) => request.text(path));
    const none: readonly string[] = [];
    for (const _kind of ['exist', 'child']) request.list(none, () => undefined);
    this.#socket.write(request.frame());
  }

  close(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#dialTimer);
    this.#socket.destroy();
    const { host, port } = this.server;
    const detail = `${host}:${port}: ${reason}`;
    for (const { operation, reject } of this.#pending.splice(0))
      reject(new ZooKeeperError('ConnectionLoss', operation.name, detail));
    this.listener.closed(detail);
  }

  #greet({ id, password, timeoutMs, lastZxid }: SessionTicket): void {
    const ticket = new JuteWriter().int(0).long(lastZxid).int(timeoutMs).long(id);
    this.#ticketSentAt = now();
    this.#socket.write(
      ticket
        .buffer(id === 0n ? Buffer.alloc(PASSWORD_BYTES) : password)
        .bool(false)
        .frame(),
    );
  }

  #receive(bytes: Buffer): void {
    try {
      for (const frame of this.#frames.push(bytes)) {
        if (this.#isClosed) return;
        if (this.#isOpen) this.#read(new JuteReader(frame));
        else this.#welcome(new JuteReader(frame));
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.close(`an answer that cannot be read: ${error.message}`);
    }
  }

  #welcome(from: JuteReader): void {
    from.int(); // protocol version: always 0
    const timeoutMs = from.int();
    const id = from.long();
    const password = from.buffer();
    clearTimeout(this.#dialTimer);
    this.#isOpen = true;
    this.listener.welcomed({ id, password, timeoutMs, sentAt: this.#ticketSentAt });
  }

  #read(from: JuteReader): void {
    const xid = from.int();
    const zxid = from.long();
    const error = from.int();
    if (xid === XID.event) {
      const type = from.int();
      from.int(); // state of the session, as the server sees it
      return this.listener.changed({ type, path: from.text() });
    }
    if (xid === XID.setWatches) return;
    if (xid === XID.auth) {
      if (error !== 0)
        this.listener.refused(ZooKeeperError.fromNumber(error, 'the authentication'));
      return;
    }
    const [pending] = this.#pending;
    if (pending?.xid !== xid) throw new RangeError(`answer ${xid} to request ${pending?.xid}`);
    this.#settle(pending, from, zxid, error);
  }

  #settle(pending: Pending, from: JuteReader, zxid: bigint, error: number): void {
    const { operation, sentAt } = pending;
    if (error !== 0) {
      const failure = ZooKeeperError.fromNumber(error, operation.name);
      this.#pending.shift();
      pending.reject(failure);
      return this.listener.refused(failure);
    }
    const value = operation.read(from); // before it counts as settled: it may not be readable
    this.#pending.shift();
    this.listener.answered(operation, sentAt, zxid);
    pending.resolve(value);
  }
}
