import { once } from 'node:events';
import { type Server, type Socket, connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Seen from the client: what it sends, and what it gets back. */
export type Direction = 'to-server' | 'to-client';

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Bytes that a blackhole keeps back, in order. */
  readonly held: { readonly to: Socket; readonly chunk: Buffer }[];
  /** What happens to the next bytes from the server. */
  nextReply: 'pass' | 'drop' | 'cut';
  /** When the last delayed bytes of a direction arrive: later ones never overtake them. */
  readonly due: Record<Direction, number>;
}

interface CommandRule {
  readonly matches: (text: string) => boolean;
  readonly effect: 'drop' | 'cut';
  hit(): void;
}

/**
 * A TCP proxy that breaks connections the way networks do. It starts on a free port of 127.0.0.1 and passes everything.
 *
 * Matching looks at each chunk as it arrives, which is a whole command for clients that do not pipeline large batches.
 */
export class TcpProxy {
  readonly #links = new Set<Link>();
  readonly #rules = new Set<CommandRule>();
  readonly #target: { readonly host: string; readonly port: number; readonly patienceMs: number };
  #listener: Server | null = null;
  #port = 0;
  #answers = 0;
  #delayMs = 0;
  #swallows: ReadonlySet<Direction> = new Set();

  private constructor(target: { host: string; port: number; patienceMs: number }) {
    this.#target = target;
  }

  /**
   * @param target `patienceMs`: how long a client is kept while its server does not listen yet. A proxy cannot turn it away as the closed port
   * of a server would: it has accepted the connection, and could only reset it. Default 0.
   */
  static async start(target: {
    host?: string;
    port: number;
    patienceMs?: number;
  }): Promise<TcpProxy> {
    const proxy = new TcpProxy({ host: '127.0.0.1', patienceMs: 0, ...target });
    await proxy.#listen();
    return proxy;
  }

  /** A proxy in front of the server that a URL names. */
  static forUrl(url: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(url);
    return TcpProxy.start({ host: hostname, port: Number(port) });
  }

  get port(): number {
    return this.#port;
  }

  /** The same URL, by way of this proxy. */
  url(serverUrl: string): string {
    const url = new URL(serverUrl);
    url.hostname = '127.0.0.1';
    url.port = String(this.#port);
    return url.href;
  }

  /** How many clients are connected now. */
  get connections(): number {
    return this.#links.size;
  }

  /** Its own ports towards the server: by which the server knows its clients. */
  get portsAtServer(): readonly number[] {
    return [...this.#links].flatMap(({ server }) => server.localPort ?? []);
  }

  /** How many pieces of answers have been passed on. */
  get answers(): number {
    return this.#answers;
  }

  /** Whether a blackhole holds back bytes in which the text occurs. */
  holdsBack(text: string): boolean {
    return [...this.#links].some(({ held }) => held.some(({ chunk }) => chunk.includes(text)));
  }

  /** Ends every fault. What a blackhole held back is delivered now, late and in one piece, as TCP does when a partition heals. */
  async pass(): Promise<void> {
    this.#delayMs = 0;
    this.#swallows = new Set();
    this.#rules.clear();
    for (const link of this.#links) {
      link.nextReply = 'pass';
      for (const socket of [link.client, link.server]) socket.cork();
      for (const { to, chunk } of link.held.splice(0)) to.write(chunk);
      for (const socket of [link.client, link.server]) socket.uncork();
    }
    if (!this.#listener) await this.#listen();
  }

  /** Every chunk arrives this much later, in both directions and in order. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Resets every connection (RST). New ones are accepted. */
  cut(): void {
    for (const link of this.#links) this.#reset(link);
  }

  /** Connections stay open and nothing arrives, until `pass`. New connections are accepted and stay silent, too. */
  blackhole(...directions: Direction[]): void {
    this.#swallows = new Set(directions.length > 0 ? directions : ['to-server', 'to-client']);
  }

  /** Resets every connection and turns new ones away (ECONNREFUSED), until `pass`. */
  async refuse(): Promise<void> {
    const listener = this.#listener;
    this.#listener = null;
    this.cut();
    if (listener) await new Promise((resolve) => listener.close(resolve));
  }

  /**
   * The server executes the next command that contains `text` (case does not count), but its answer never arrives.
   * The connection stays open.
   *
   * @returns resolves when the answer has been dropped.
   */
  dropReplyTo(text: string): Promise<void> {
    return this.#onCommand(text, 'drop');
  }

  /** As {@link dropReplyTo}, but the connection is reset in place of the answer. */
  cutBeforeReplyTo(text: string): Promise<void> {
    return this.#onCommand(text, 'cut');
  }

  async close(): Promise<void> {
    await this.refuse();
  }

  #onCommand(text: string, effect: 'drop' | 'cut'): Promise<void> {
    const wanted = text.toLowerCase();
    return new Promise((resolve) => {
      this.#rules.add({
        matches: (chunk) => chunk.toLowerCase().includes(wanted),
        effect,
        hit: resolve,
      });
    });
  }

  async #listen(): Promise<void> {
    const { patienceMs } = this.#target;
    const listener = createServer({ allowHalfOpen: false }, (client) => {
      if (patienceMs === 0) this.#link(client, this.#connect());
      else void this.#linkLater(client, performance.now() + patienceMs);
    });
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject).listen(this.#port, '127.0.0.1', resolve);
    });
    listener.unref();
    this.#port = (listener.address() as { port: number }).port;
    this.#listener = listener;
  }

  #connect(): Socket {
    return connect(this.#target.port, this.#target.host);
  }

  /** What the client sends meanwhile waits in its socket. */
  async #linkLater(client: Socket, end: number): Promise<void> {
    client.on('error', () => undefined);
    while (!client.destroyed) {
      const server = this.#connect();
      if (await once(server, 'connect').catch(() => null)) return this.#link(client, server);
      if (performance.now() > end) client.resetAndDestroy();
      await delay(10);
    }
  }

  #link(client: Socket, server: Socket): void {
    const link: Link = {
      client,
      server,
      held: [],
      nextReply: 'pass',
      due: { 'to-server': 0, 'to-client': 0 },
    };
    this.#links.add(link);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.#reset(link)); // one side is gone: so is the other
      socket.on('close', () => this.#close(link));
    }
    let onReply: (() => void) | undefined;
    client.on('data', (chunk) => {
      const text = chunk.toString('latin1');
      for (const rule of this.#rules) {
        if (!rule.matches(text)) continue;
        this.#rules.delete(rule);
        link.nextReply = rule.effect;
        onReply = () => rule.hit();
      }
      this.#forward(link, 'to-server', chunk);
    });
    server.on('data', (chunk) => {
      const effect = link.nextReply;
      link.nextReply = 'pass';
      if (effect === 'pass') return this.#forward(link, 'to-client', chunk);
      if (effect === 'cut') this.#reset(link);
      onReply?.();
    });
  }

  #forward(link: Link, direction: Direction, chunk: Buffer): void {
    const to = direction === 'to-server' ? link.server : link.client;
    const now = performance.now();
    const due = Math.max(now + this.#delayMs, link.due[direction]);
    if (due <= now) return this.#deliver(link, direction, to, chunk);
    link.due[direction] = due;
    setTimeout(() => this.#deliver(link, direction, to, chunk), due - now);
  }

  #deliver(link: Link, direction: Direction, to: Socket, chunk: Buffer): void {
    if (to.destroyed) return;
    if (this.#swallows.has(direction)) return void link.held.push({ to, chunk });
    if (direction === 'to-client') this.#answers += 1;
    to.write(chunk);
  }

  #reset(link: Link): void {
    this.#links.delete(link);
    link.client.resetAndDestroy();
    link.server.resetAndDestroy();
  }

  #close(link: Link): void {
    if (!this.#links.delete(link)) return;
    link.client.end();
    link.server.end();
  }
}
