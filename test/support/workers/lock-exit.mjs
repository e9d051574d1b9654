/** Holds one lock, waits for it once more, and has nothing else to do: `memory`, or `redis URL` and a close. */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import {
  DistributedLockModule,
  DistributedLockService,
  memoryStore,
} from 'nestjs-distributed-lock';
import { redisStore } from 'nestjs-distributed-lock/redis';

const [kind, connection] = process.argv.slice(2);
const store = kind === 'redis' ? redisStore({ connection }) : memoryStore();
const module = DistributedLockModule.forRoot({
  store,
  namespace: `exit-${process.pid}`,
  shutdownGrace: 50,
});
const app = await NestFactory.createApplicationContext(module, { logger: false });
const locks = app.get(DistributedLockService);

await locks.acquire('held');
locks.acquire('held', { waitTime: '1h' }).catch(() => undefined);
process.stdout.write('holds and waits\n');

if (kind === 'redis') {
  await app.close();
  process.stdout.write('closed\n');
}
