import { TcpProxy } from './tcp-proxy.js';

/** The way from one store to its servers, a proxy for each, broken and mended as one. */
export class Network {
  private constructor(
    private readonly urls: readonly string[],
    private readonly proxies: readonly TcpProxy[],
  ) {}

  static async to(...urls: readonly string[]): Promise<Network> {
    return new Network(urls, await Promise.all(urls.map((url) => TcpProxy.forUrl(url))));
  }

  /** The same URLs, by way of the proxies. */
  get through(): readonly string[] {
    return this.proxies.map((proxy, n) => proxy.url(this.urls[n]!));
  }

  get connections(): number {
    return sum(this.proxies.map((proxy) => proxy.connections));
  }

  get answers(): number {
    return sum(this.proxies.map((proxy) => proxy.answers));
  }

  get portsAtServer(): readonly number[] {
    return this.proxies.flatMap((proxy) => proxy.portsAtServer);
  }

  async pass(): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy.pass()));
  }

  cut(): void {
    for (const proxy of this.proxies) proxy.cut();
  }

  blackhole(): void {
    for (const proxy of this.proxies) proxy.blackhole();
  }

  async refuse(): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy.refuse()));
  }

  /** See {@link TcpProxy.cutBeforeReplyTo}; resolves when it has happened on the way to every server. */
  async cutBeforeReplyTo(text: string): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy.cutBeforeReplyTo(text)));
  }

  async close(): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
