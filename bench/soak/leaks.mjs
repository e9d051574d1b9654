/** What a soak must notice: run it with `--leak <name>`, and it has to end with 1. */
import { connect } from 'node:net';

const kept = [];

export const LEAKS = {
  none: () => undefined,
  heap: () => kept.push(Array.from({ length: 1_000 }, Math.random)),
  timers: () => setInterval(() => undefined, 1_000_000).unref(),
  sockets: ({ port }) => {
    if (Math.random() < 0.01) kept.push(connect(port, '127.0.0.1'));
  },
  listeners: ({ signal }) => signal.addEventListener('abort', () => kept.length),
  keys: ({ admin }) => admin.set(`soak:leak:${Math.random()}`, '1'),
};
