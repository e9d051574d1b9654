import { randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { Application } from '../application/application.entity.js';
import { Quote } from '../quote/quote.entity.js';
import type { CallResult } from './demo.worker.js';
import type { CommandCounter } from './redis-commands.js';
import type { WorkerPool } from './worker-pool.js';

/** What came of the races of one mode. */
export interface RaceResult {
  readonly lock: 'off' | 'on';
  readonly rounds: number;
  /** Applications that ended cancelled. */
  readonly cancelled: number;
  /** Applications that ended with a quote. */
  readonly quoted: number;
  /** Calls that were told "too late". */
  readonly refused: number;
  /** Cancelled, with a quote: must never be. */
  readonly anomalies: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Commands that the servers sent to Redis, per call; `null` without Redis. */
  readonly redisCommandsPerCall: number | null;
}

export interface RaceOptions {
  readonly lock: 'off' | 'on';
  readonly rounds: number;
  readonly pool: WorkerPool;
  readonly database: DataSource;
  readonly commands: CommandCounter | null;
  readonly progress: (done: number) => void;
}

/** One application a round; one server cancels it, another submits a quote to it, at the same moment. */
export async function race({
  lock,
  rounds,
  pool,
  database,
  commands,
  progress,
}: RaceOptions): Promise<RaceResult> {
  const ids = Array.from({ length: rounds }, () => randomUUID());
  await database
    .getRepository(Application)
    .insert(ids.map((id) => ({ id, title: 'A new kitchen', status: 'OPEN' as const })));
  const before = await commands?.count();
  const calls: CallResult[] = [];
  for (const [round, id] of ids.entries()) {
    const canceller = round % pool.workers.length;
    const submitter = (round + 1) % pool.workers.length;
    const results = await pool.together<CallResult>([
      { worker: canceller, command: 'cancel', payload: id },
      { worker: submitter, command: 'submit', payload: id },
    ]);
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
      calls.push(result.value);
    }
    progress(round + 1);
  }
  const sent = commands && before !== undefined ? (await commands.count()) - before : null;
  const ms = calls.map((call) => call.ms).toSorted((a, b) => a - b);
  return {
    lock,
    rounds,
    ...(await outcomes(database, ids)),
    refused: calls.filter((call) => call.outcome === 'refused').length,
    p50Ms: quantile(ms, 0.5),
    p99Ms: quantile(ms, 0.99),
    redisCommandsPerCall: sent === null ? null : sent / calls.length,
  };
}

async function outcomes(
  database: DataSource,
  ids: readonly string[],
): Promise<Pick<RaceResult, 'cancelled' | 'quoted' | 'anomalies'>> {
  const rows = await database
    .getRepository(Application)
    .createQueryBuilder('a')
    .select('a.status', 'status')
    .addSelect(
      (quotes) => quotes.select('count(*)::int').from(Quote, 'q').where('q.applicationId = a.id'),
      'quotes',
    )
    .where('a.id = ANY(:ids)', { ids })
    .getRawMany<{ status: string; quotes: number }>();
  const cancelled = rows.filter((row) => row.status === 'CANCELLED');
  return {
    cancelled: cancelled.length,
    quoted: rows.filter((row) => row.quotes > 0).length,
    anomalies: cancelled.filter((row) => row.quotes > 0).length,
  };
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}
