import { DistributedLock } from 'nestjs-distributed-lock';
import { decorate } from './decorate.mjs';
import { lockApp } from './ours-app.mjs';

/** A decorated method of a provider; the key comes from its arguments. */
export async function open(options) {
  class Work {
    async run(key, section) {
      return section(key);
    }
  }
  decorate(Work, 'run', DistributedLock('{key}'));
  const app = await lockApp(options, [Work]);
  const work = app.get(Work);
  return { locked: (key, section) => work.run(key, section), close: () => app.close() };
}
