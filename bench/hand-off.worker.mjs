import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { NestFactory } from '@nestjs/core';
import { DistributedLockModule, DistributedLockService } from 'nestjs-distributed-lock';
import { storeOf } from '../dist/example/app.store.js';
import { monotonicMs } from '../dist/example/demo/monotonic.js';
import { serve } from '../dist/example/demo/worker-port.js';

const { STORE: store, STORE_URL: url } = process.env;
class AppModule {}
const app = await NestFactory.createApplicationContext(
  {
    module: AppModule,
    imports: [
      DistributedLockModule.forRoot({
        store: storeOf({ store, storeUrl: url }),
        namespace: 'bench',
        waitTime: '60s',
      }),
    ],
  },
  { logger: ['error'] },
);
const locks = app.get(DistributedLockService);

/** All callers ask at once; each is inside for one turn of the event loop. */
async function burst({ callers }) {
  const sections = [];
  const caller = () =>
    locks.withLock('hot', async () => {
      const from = monotonicMs();
      await new Promise(setImmediate);
      sections.push({ from, to: monotonicMs() });
    });
  await Promise.all(Array.from({ length: callers }, caller));
  return sections;
}

/** @returns what the heap grows by with each of so many callers that wait, in bytes. */
async function weigh({ waiters }) {
  await locks.acquire('weighed');
  const before = heap();
  for (let n = 0; n < waiters; n += 1) locks.acquire('weighed').catch(() => undefined); // until the end
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return (heap() - before) / waiters;
}

function heap() {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  for (let n = 0; n < 3; n += 1) collect();
  return process.memoryUsage().heapUsed;
}

await burst({ callers: 1 }); // connections and scripts are warm
serve({ burst, weigh }, () => app.close());
