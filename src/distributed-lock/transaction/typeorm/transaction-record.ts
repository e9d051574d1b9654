import type { DataSource, QueryRunner } from 'typeorm';
import { TransactionContextEndedError } from '../../distributed-lock.errors.js';
import type { KeptHolds } from './kept-holds.js';
import { describePlace, type Place } from './opened-at.js';

/**
 * One transaction of one query runner, from the first sign of it to its end.
 *
 * A record per transaction, not the runner's own `isTransactionActive`: a runner may open many transactions, and after
 * its connection died the flag stays `true`.
 */
export class TransactionRecord {
  /** Locks that are held until it has ended; most transactions have none. */
  kept: KeptHolds | null = null;
  #phase: 'expected' | 'open' | 'ended' = 'expected';
  #place: Place | null = null;
  #endedRunner: QueryRunner | undefined;

  constructor(
    readonly dataSource: DataSource,
    readonly runner: QueryRunner,
    /** Of the lock, where the transaction belongs to one. */
    readonly key: string | null = null,
  ) {}

  protected get phase(): 'expected' | 'open' | 'ended' {
    return this.#phase;
  }

  /** Whether it tells {@link kept} of its end itself; of others, the events of the runner do. */
  get endsItsHolds(): boolean {
    return false;
  }

  /** `true` from the creation of the runner to its first START. */
  get isExpected(): boolean {
    return this.#phase === 'expected' && !this.runner.isReleased;
  }

  /** A released runner is over even where no event told of the end, such as after a lost connection. */
  get isOpen(): boolean {
    return this.#phase === 'open' && !this.runner.isReleased && this.runner.isTransactionActive;
  }

  get isOver(): boolean {
    return this.#phase === 'ended' || this.runner.isReleased;
  }

  /** Where it was opened, such as `Bar.checkout (bar.ts:41:7)`. */
  get openedAt(): string | null {
    return this.#place === null ? null : describePlace(this.#place);
  }

  open(place: Place | null): void {
    this.#phase = 'open';
    this.#place = place;
  }

  end(): void {
    this.#phase = 'ended';
    this.#place = null;
  }

  /**
   * What joined repositories send their statements through. After the end, a runner that rejects all of them with
   * `TransactionContextEndedError`: rejects, because `void repository.save(x).catch(log)` must not throw in a timer.
   */
  get joinedRunner(): QueryRunner {
    if (this.#phase !== 'ended') return this.runner;
    return (this.#endedRunner ??= endedRunner(this.runner, this.key));
  }
}

/** A query runner that sends nothing. */
function endedRunner(runner: QueryRunner, key: string | null): QueryRunner {
  const refuse = { value: () => Promise.reject(new TransactionContextEndedError(key)) };
  return Object.create(runner, {
    // Not "released": TypeORM would then report its own, less helpful error.
    isReleased: { value: false },
    // Not "inactive": `save` would then try to open a transaction by itself.
    isTransactionActive: { value: true },
    connect: refuse,
    query: refuse,
    stream: refuse,
    startTransaction: refuse,
    commitTransaction: refuse,
    rollbackTransaction: refuse,
    release: { value: () => Promise.resolve() },
    data: { value: {}, writable: true },
  }) as QueryRunner;
}
