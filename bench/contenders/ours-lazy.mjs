import { DistributedLockService } from 'nestjs-distributed-lock';
import { lockApp } from './ours-app.mjs';

/** The caller's answer does not wait for the release. */
export async function open(options) {
  const app = await lockApp(options, [], { awaitRelease: false });
  const locks = app.get(DistributedLockService);
  return { locked: (key, section) => locks.withLock(key, section), close: () => app.close() };
}
