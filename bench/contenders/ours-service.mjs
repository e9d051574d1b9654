import { DistributedLockService } from 'nestjs-distributed-lock';
import { lockApp } from './ours-app.mjs';

export async function open(options) {
  const app = await lockApp(options);
  const locks = app.get(DistributedLockService);
  return { locked: (key, section) => locks.withLock(key, section), close: () => app.close() };
}
