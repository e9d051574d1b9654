/** Holds one lock, waits for it once more, closes, and has nothing else to do. */
import { zookeeperStore } from 'nestjs-distributed-lock/zookeeper';

const [connectString, namespace] = process.argv.slice(2);
const store = zookeeperStore({ connectString });
await store.open(namespace, 10_000);
await store.acquire({ key: 'held', leaseTimeMs: 10_000, waitTimeMs: 0 });
store
  .acquire({ key: 'held', leaseTimeMs: 10_000, waitTimeMs: 3_600_000 })
  .catch(() => process.stdout.write('turned away\n'));
await store.close();
process.stdout.write('closed\n');
