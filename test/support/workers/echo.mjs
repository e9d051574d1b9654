/** For the tests of the worker pool itself. */
import { report, serve } from '../../../dist/example/demo/worker-port.js';
import { monotonicMs } from '../../../dist/example/demo/monotonic.js';

serve({
  echo: (payload) => ({ payload, worker: process.env.WORKER, at: monotonicMs() }),
  report: (name) => report(name, { worker: process.env.WORKER }),
  fail: (message) => {
    throw Object.assign(new Error(message), { code: 'ECHO', retryable: true });
  },
  never: () => new Promise(() => {}),
});
