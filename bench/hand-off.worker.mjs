import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { DistributedLockModule, DistributedLockService } from 'nestjs-distributed-lock';
import { storeOf } from '../dist/example/app.store.js';
import { monotonicMs } from '../dist/example/demo/monotonic.js';
import { serve } from '../dist/example/demo/worker-port.js';

const store = process.env.STORE;
const urls = JSON.parse(process.env.URLS);
const url = { mysql: urls.mariadb, table: urls.postgres }[store] ?? urls[store];
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

await burst({ callers: 1 }); // connections and scripts are warm
serve({ burst }, () => app.close());
