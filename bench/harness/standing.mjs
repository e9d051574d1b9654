/** What callers cost that stand still: windows of one contender after the other, as nothing here is a ratio of times. */
import { startContenders, takeTurn } from './turns.mjs';

/**
 * @param variant `{ name, before, options, settleMs, windowMs, rounds, observed }`: `before` lists the loads of each process that
 *   set the scene, `observed` is the process that is looked at.
 */
export async function standStill(variant, names, { url, watch }) {
  const contenders = {};
  const skipped = {};
  for (const name of names) {
    await watch.empty();
    const { before, options } = variant;
    const started = await startContenders([name], before.length, { url, ...options });
    Object.assign(skipped, started.skipped);
    const pool = started.pools.get(name);
    if (!pool) continue;
    try {
      contenders[name] = await observe(variant, pool, watch);
    } finally {
      await pool.kill();
    }
  }
  return { contenders, skipped, failures: {} };
}

async function observe({ name, before, settleMs, windowMs, rounds, observed }, pool, watch) {
  for (const [process, load] of before.entries()) {
    await pool.worker(process).call('run', { ...load, name });
  }
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const windows = [];
  const calls = before.map(() => ({ load: 'stand', ms: windowMs, metered: true }));
  for (let round = 0; round < rounds; round += 1) {
    const { results, server } = await takeTurn(pool, calls, watch);
    const { cpuUs, meter, moved } = results[observed];
    const seconds = windowMs / 1_000;
    windows.push({
      sentPerS: meter.commands / seconds,
      bytesPerS: (meter.bytesOut + meter.bytesIn) / seconds,
      callsPerS: server.calls / seconds,
      nodePercent: cpuUs / seconds / 1e4,
      serverPercent: server.cpuUs / seconds / 1e4,
      moved,
    });
  }
  const { heapPerOne } = await pool.worker(observed).call('run', { load: 'weigh' });
  return { ...summaryOf(windows), heapPerOne: [heapPerOne, heapPerOne, heapPerOne] };
}

function summaryOf(windows) {
  const names = Object.keys(windows[0]).filter((name) => name !== 'moved');
  const figures = names.map((name) => {
    const values = windows.map((it) => it[name]);
    // The mean: renewals come in waves that a window may miss.
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [name, [mean, Math.min(...values), Math.max(...values)]];
  });
  // A lock that was lost, or granted twice, at any time.
  return { ...Object.fromEntries(figures), violations: windows.at(-1).moved };
}
