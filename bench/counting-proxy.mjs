import { connect, createServer } from 'node:net';

/** Passes everything on, and counts what clients send and how many are connected. */
export class CountingProxy {
  requests = 0;
  connections = 0;
  mostConnections = 0;
  #server;
  #sockets = new Set();

  /** @param urls one, or several with commas. @returns the same by way of proxies, and these. */
  static async inFrontOf(urls) {
    const counters = [];
    const through = [];
    for (const url of urls.split(',')) {
      const bare = !url.includes('://');
      const target = new URL(bare ? `tcp://${url}` : url);
      const counter = new CountingProxy();
      counters.push(counter);
      const port = await counter.#listen(Number(target.port), target.hostname);
      target.hostname = '127.0.0.1';
      target.port = String(port);
      through.push(bare ? target.host : target.href);
    }
    return { through: through.join(','), counters };
  }

  async close() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #listen(port, host) {
    this.#server = createServer((client) => {
      const server = connect(port, host);
      this.mostConnections = Math.max(this.mostConnections, ++this.connections);
      for (const socket of [client, server]) {
        this.#sockets.add(socket.setNoDelay(true));
        socket.on('error', () => undefined); // 'close' follows
      }
      client.on('data', () => (this.requests += 1));
      client.pipe(server).pipe(client);
      client.on('close', () => {
        this.connections -= 1;
        server.destroy();
      });
      server.on('close', () => client.destroy());
    });
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => resolve(this.#server.address().port));
    });
  }
}
