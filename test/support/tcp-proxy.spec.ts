import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TcpProxy } from './tcp-proxy.js';
import { until } from './until.js';

/** A server that answers `x` with `re:x`, and remembers what it has executed. */
let server: Server;
let proxy: TcpProxy;
const executed: string[] = [];
const clients: Client[] = [];

class Client {
  readonly received: string[] = [];
  ended: string | null = null;
  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => this.received.push(chunk.toString()));
    socket.on('error', (error: NodeJS.ErrnoException) => (this.ended = error.code ?? 'error'));
    socket.on('close', () => (this.ended ??= 'closed'));
  }
  send(text: string) {
    this.socket.write(text);
  }
  got(text: string) {
    return until(`the answer ${text}`, () => this.received.join('').includes(text));
  }
}

async function client(): Promise<Client> {
  const made = new Client(connect(proxy.port, '127.0.0.1'));
  clients.push(made);
  await until('the connection', () => made.socket.readyState === 'open' || made.ended !== null);
  return made;
}

beforeEach(async () => {
  executed.length = 0;
  server = createServer((socket) => {
    socket.on('error', () => undefined); // resets are the point here
    socket.on('data', (chunk) => {
      executed.push(chunk.toString());
      socket.write(`re:${chunk.toString()}`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy = await TcpProxy.start({ port: (server.address() as AddressInfo).port });
});

afterEach(async () => {
  for (const it of clients.splice(0)) it.socket.destroy();
  await proxy.close();
  server.close();
});

describe('the TCP proxy', () => {
  it('keeps a client until its server listens, where it is told to; control: else resets it', async () => {
    const port = (server.address() as AddressInfo).port;
    const serve = server.listeners('connection')[0] as (socket: Socket) => void;
    await new Promise((resolve) => server.close(resolve));
    const impatient = await client();
    await until('the reset', () => impatient.ended !== null);
    await proxy.close();

    proxy = await TcpProxy.start({ port, patienceMs: 10_000 });
    const it = await client();
    it.send('hello');
    server = createServer(serve);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    await it.got('re:hello');
    expect(executed).toEqual(['hello']);
  });

  it('passes both directions', async () => {
    const it = await client();
    it.send('hello');
    await it.got('re:hello');
  });

  it('resets connections on cut, and accepts new ones', async () => {
    const it = await client();
    it.send('a');
    await it.got('re:a');
    proxy.cut();
    await until('the reset', () => it.ended !== null);
    expect(it.ended).toBe('ECONNRESET');
    const next = await client();
    next.send('b');
    await next.got('re:b');
  });

  it('turns connections away on refuse, until pass', async () => {
    await proxy.refuse();
    expect((await client()).ended).toBe('ECONNREFUSED');
    await proxy.pass();
    const it = await client();
    it.send('a');
    await it.got('re:a');
  });

  it('keeps back what goes into a blackhole, and delivers it late', async () => {
    const it = await client();
    it.send('1');
    await it.got('re:1');
    proxy.blackhole('to-server');
    it.send('2');
    const other = await TcpProxy.start({ port: (server.address() as AddressInfo).port });
    await other.close(); // some round trips of the event loop
    expect(executed).toEqual(['1']);
    await proxy.pass();
    await it.got('re:2');
  });

  it('lets the server work while its answers are lost', async () => {
    const it = await client();
    proxy.blackhole('to-client');
    it.send('write');
    await until('the command to be executed', () => executed.includes('write'));
    expect(it.received).toEqual([]);
    expect(it.ended).toBeNull();
  });

  it('drops the answer to one command, and only that', async () => {
    const it = await client();
    const dropped = proxy.dropReplyTo('SET');
    it.send('get');
    await it.got('re:get');
    it.send('set');
    await dropped;
    it.send('next');
    await it.got('re:next');
    expect(it.received.join('')).not.toContain('re:set');
    expect(executed).toContain('set');
  });

  it('cuts the connection in place of an answer, after the command was executed', async () => {
    const it = await client();
    const cut = proxy.cutBeforeReplyTo('commit');
    it.send('COMMIT');
    await cut;
    await until('the reset', () => it.ended !== null);
    expect(executed).toEqual(['COMMIT']);
    expect(it.received).toEqual([]);
  });

  it('delays without changing the order, also when the delay ends', async () => {
    const it = await client();
    proxy.delay(60);
    const sentAt = performance.now();
    it.send('1');
    await until('the proxy to have it', () => proxy.connections === 1);
    await it.got('re:1');
    expect(performance.now() - sentAt).toBeGreaterThanOrEqual(115);
  });
});
