/** Holds one lock, waits for it once more, closes, and has nothing else to do. argv[2], JSON: `{ kind, options, namespace, key, breaks }` */
import { openStore } from './stores.mjs';

const { key, breaks, ...settings } = JSON.parse(process.argv[2]);
const store = await openStore(settings);
await store.acquire({ key, leaseTimeMs: 10_000, waitTimeMs: 0 });
store
  .acquire({ key, leaseTimeMs: 10_000, waitTimeMs: 3_600_000 })
  .catch(() => process.stdout.write('turned away\n'));
await store.close();
process.stdout.write('closed\n');
// For the control: what a timer that was forgotten does.
if (breaks === 'lingers') setInterval(() => {}, 1_000);
