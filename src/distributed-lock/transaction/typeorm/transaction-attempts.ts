import { setTimeout as delay } from 'node:timers/promises';
import type { EntityManager } from 'typeorm';
import {
  DistributedLockError,
  PostCommitHookError,
  SerializationRetriesExhaustedError,
  TransactionRolledBackError,
  TransactionStartError,
} from '../../distributed-lock.errors.js';
import type { IsolationLevel, TransactionHold } from '../transaction-runner.js';
import { gaveUp } from './fence/database-errors.js';
import type { ManagedTransaction } from './managed-transaction.js';
import { runDirectly, runThrough } from './opened-transaction.js';
import { isLoss, lossWith } from './transaction-guard.js';
import type { TransactionMode } from './transaction-mode.js';

/** Transactions that the database gave up before the method ran cost nobody anything: at the fence, that is the ordinary way to meet. */
const START_ATTEMPTS = 10;
/** Errors of ours that say no more than that the database did not go on. */
const OF_THE_DATABASE = [TransactionStartError, TransactionRolledBackError];
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;

interface Attempts {
  readonly hold: TransactionHold;
  readonly isolation: IsolationLevel | undefined;
  /** How often the method may run. */
  readonly attempts: number;
  /** The library that opens it; `null`: nobody else. */
  readonly mode: TransactionMode | null;
  newTransaction(): ManagedTransaction;
  onWarning(message: string): void;
}

type Work<T> = (manager: EntityManager) => Promise<T>;

/**
 * Runs the work in a transaction, and again in a new one (under the same lock, with the same token) while the database gives
 * it up and the lock is held.
 *
 * @throws {SerializationRetriesExhaustedError} the last attempt failed like the ones before; the driver's error is its cause. Where
 *   the method may run only once, the driver's error itself.
 */
export async function attempted<T>(work: Work<T>, options: Attempts): Promise<T> {
  let runs = 0;
  const counted: Work<T> = (manager) => {
    runs += 1;
    return work(manager);
  };
  for (let attempt = 1; ; attempt += 1) {
    const runsBefore = runs;
    try {
      return await once(counted, options.newTransaction(), options);
    } catch (error) {
      const ranNow = runs > runsBefore;
      const mayRunAgain = !ranNow ? attempt - runs < START_ATTEMPTS : runs < options.attempts;
      if (!mayRunAgain || !gaveUpOn(error)) throw told(error, attempt, { runs, ranNow }, options);
    }
    await pause(attempt);
    try {
      options.hold.assertHeld();
    } catch (error) {
      throw told(error, attempt, { runs, ranNow: false }, options);
    }
  }
}

/** Only the database's own word: an error of ours that carries it as its cause has its reasons, such as a wait that was too long. */
function gaveUpOn(error: unknown): boolean {
  const isOurs = error instanceof DistributedLockError;
  return (!isOurs || OF_THE_DATABASE.some((type) => error instanceof type)) && gaveUp(error);
}

/** Two that met in a deadlock should not meet again. */
function pause(attempt: number): Promise<void> {
  return delay(Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS));
}

/** An error says whether the method ran: that it did so in an earlier attempt counts, too. One of the method itself is left as it is. */
function told(
  error: unknown,
  attempt: number,
  { runs, ranNow }: { readonly runs: number; readonly ranNow: boolean },
  { hold, attempts }: Attempts,
): unknown {
  if (isLoss(error)) return lossWith(error, { methodRan: runs > 0, committed: false });
  const isBeforeMethod = !ranNow && error instanceof DistributedLockError && !error.methodRan;
  const isExhausted = gaveUpOn(error) && (attempts > 1 || runs === 0);
  if (!isExhausted && !(isBeforeMethod && runs > 0)) return error;
  return new SerializationRetriesExhaustedError(hold.key, attempt, {
    methodRan: runs > 0,
    cause: error,
  });
}

async function once<T>(
  work: Work<T>,
  transaction: ManagedTransaction,
  options: Attempts,
): Promise<T> {
  const { hold, mode } = options;
  const start = (isolation?: unknown) =>
    transaction.start(options.isolation ?? (isolation as IsolationLevel | undefined));
  let result: T;
  try {
    result = await (mode === null
      ? runDirectly(transaction, start, work)
      : runThrough(mode, transaction, start, work));
  } catch (error) {
    // Also after the commit, where a subscriber failed.
    for (const failure of await transaction.callEnded())
      options.onWarning(
        `Lock "${hold.key}": a callback failed after the transaction: ${String(failure)}`,
      );
    throw error;
  }
  const failures = await transaction.callEnded();
  if (failures.length === 0) return result;
  const cause = failures.length === 1 ? failures[0] : new AggregateError(failures);
  throw new PostCommitHookError(hold.key, { cause });
}
