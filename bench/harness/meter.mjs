/** Counts what this process says to the Redis server, whatever client library says it: requests (`*N\r\n$…`) and bytes. */
import { Socket } from 'node:net';

const REQUEST = /\*\d+\r\n\$/g;

/**
 * Costs some per cent of a command, so it is only on in turns whose times do not count.
 *
 * @returns stops counting and answers `{ commands, bytesOut, bytesIn }`.
 */
export function startMeter(port) {
  const plain = Socket.prototype;
  const write = Reflect.get(plain, 'write');
  const sockets = new Map();
  let commands = 0;
  plain.write = function metered(chunk, ...rest) {
    if (this.remotePort === port) {
      if (!sockets.has(this)) sockets.set(this, [this.bytesWritten, this.bytesRead]);
      commands += (String(chunk).match(REQUEST) ?? []).length;
    }
    return write.call(this, chunk, ...rest);
  };
  return () => {
    plain.write = write;
    let [bytesOut, bytesIn] = [0, 0];
    for (const [socket, [written, read]] of sockets) {
      bytesOut += socket.bytesWritten - written;
      bytesIn += socket.bytesRead - read;
    }
    return { commands, bytesOut, bytesIn };
  };
}
