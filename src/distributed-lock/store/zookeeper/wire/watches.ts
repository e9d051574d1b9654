import type { WatchEvent, WatchListener } from '../zookeeper.session.js';

/** Longest list of paths in one packet, in bytes; as ZooKeeper's Java client does it. The server's limit is a megabyte. */
const LONGEST_PACKET = 128 * 1024;

/** Who wants to know about which node. Each listener is told once. */
export class Watches {
  readonly #listeners = new Map<string, Set<WatchListener>>();

  add(path: string, listener: WatchListener): void {
    let listeners = this.#listeners.get(path);
    if (!listeners) this.#listeners.set(path, (listeners = new Set()));
    listeners.add(listener);
  }

  remove(path: string, listener: WatchListener): void {
    const listeners = this.#listeners.get(path);
    if (listeners?.delete(listener) && listeners.size === 0) this.#listeners.delete(path);
  }

  tell(path: string, event: WatchEvent): void {
    const listeners = this.#listeners.get(path);
    this.#listeners.delete(path);
    for (const listener of listeners ?? []) listener(event);
  }

  tellAll(event: WatchEvent): void {
    for (const path of this.#listeners.keys()) this.tell(path, event);
  }

  /** All paths, in lists that fit into a packet. */
  *packets(): Iterable<readonly string[]> {
    let packet: string[] = [];
    let size = 0;
    for (const path of this.#listeners.keys()) {
      const bytes = 4 + Buffer.byteLength(path);
      if (packet.length > 0 && size + bytes > LONGEST_PACKET) {
        yield packet;
        packet = [];
        size = 0;
      }
      packet.push(path);
      size += bytes;
    }
    if (packet.length > 0) yield packet;
  }
}
