import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { now } from '../../../distributed-lock.clock.js';
import {
  FenceWaitTimeoutError,
  FencingTokenRegressionError,
  StaleFencingTokenError,
} from '../../../distributed-lock.errors.js';
import type { LockDescription, TransactionHold } from '../../transaction-runner.js';
import type { FenceAnswer, FenceEntry, FenceKey, LostCommit, Witness } from './fence-dialect.js';
import type { FenceTable } from './fence-table.js';

/** How long a lost COMMIT is asked about: as long as the lease lasts, within these. The fence makes a late answer as good as an early one. */
const SHORTEST_WITNESS_MS = 1_000;
const LONGEST_WITNESS_MS = 10_000;
const FIRST_POLL_MS = 10;
const LONGEST_POLL_MS = 250;

/** What a COMMIT turned out to be. */
export type ProvenOutcome = Exclude<Witness, 'pending'>;

/**
 * The way of one locked call through the fence, over all attempts of its transaction.
 *
 * While the transaction is open it holds the row of each key: a newer holder waits there until it has ended, and an older one that comes
 * later is refused. So commits under one key happen in the order of their tokens, whatever became of the lock.
 */
export class FencePass {
  readonly #keys: readonly FenceKey[];
  readonly #nonces: string[] = [];
  #lost: LostCommit | null = null;

  constructor(
    private readonly fences: FenceTable,
    private readonly locks: LockDescription,
    private readonly hold: TransactionHold,
    tokens: ReadonlyMap<string, bigint>,
    /** How long the transaction may take, and so wait. */
    private readonly budgetMs: () => number,
  ) {
    this.#keys = [...tokens].map(([key, token]) => ({ name: this.#name(key), token })).sort(byName);
  }

  /**
   * Sends the fence, as the first statement of the transaction.
   *
   * @throws {StaleFencingTokenError | FencingTokenRegressionError} the transaction must be rolled back
   * @throws {FenceWaitTimeoutError} a former holder's transaction did not end in time
   * @throws {FenceTableMissingError} with advice
   * @throws the driver's error otherwise, such as a serialization failure, after which it may be tried again
   */
  async enter(runner: QueryRunner): Promise<void> {
    const entry: FenceEntry = {
      table: this.fences.table,
      keys: this.#keys,
      nonce: randomUUID(),
      budgetMs: this.budgetMs(),
    };
    const earlierNonces = [...this.#nonces];
    this.#nonces.push(entry.nonce);
    const { stale, transactionId } = await this.#send(runner, entry);
    const [first] = stale;
    if (first !== undefined) throw await this.#refused(first);
    this.#lost = { ...entry, earlierNonces, ...(transactionId !== undefined && { transactionId }) };
  }

  /**
   * Finds out what became of a COMMIT that was not answered. Only once its connection is closed: a transaction that still lives
   * there would be waited for. Never rejects.
   */
  async outcome(): Promise<ProvenOutcome> {
    if (this.#lost === null) return 'unknown';
    const deadline =
      now() + Math.max(Math.min(this.hold.remainingMs(), LONGEST_WITNESS_MS), SHORTEST_WITNESS_MS);
    const timeout = delay(Math.max(deadline - now(), 0), 'unknown' as const, { ref: false });
    return Promise.race([this.#askUntil(deadline, this.#lost), timeout]);
  }

  async #askUntil(deadline: number, lost: LostCommit): Promise<ProvenOutcome> {
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 2, LONGEST_POLL_MS)) {
      const answer = await this.#ask({ ...lost, budgetMs: Math.max(deadline - now(), 1) });
      if (answer !== 'pending') return answer;
      if (now() + pollMs >= deadline) return 'unknown';
      await delay(pollMs, undefined, { ref: false });
    }
  }

  /** A database that cannot be asked now may be asked again. */
  async #ask(lost: LostCommit): Promise<Witness> {
    try {
      return await this.fences.onConnection(async (runner) => {
        await runner.startTransaction('READ COMMITTED');
        try {
          return await this.fences.dialect.witness(
            (sql, values) => runner.query(sql, [...(values ?? [])]),
            lost,
          );
        } finally {
          await runner.rollbackTransaction();
        }
      });
    } catch {
      return 'pending';
    }
  }

  async #send(runner: QueryRunner, entry: FenceEntry): Promise<FenceAnswer> {
    const { dialect } = this.fences;
    try {
      return await dialect.enter(this.fences.sendIn(runner), entry);
    } catch (error) {
      switch (dialect.failureOf(error)) {
        case 'table-missing':
          throw this.fences.missing(error);
        case 'wait-timeout':
          throw new FenceWaitTimeoutError(this.hold.key, { cause: error });
        default:
          throw error;
      }
    }
  }

  /** Evicted, or are the tokens wrong? Only the store can tell: a paused holder believes in its lock, too. */
  async #refused(stale: FenceAnswer['stale'][number]): Promise<Error> {
    const { token } = this.#keys.find(({ name }) => name === stale.name)!;
    const isHeld = await this.hold.confirm();
    const { seenToken } = stale;
    return isHeld === true
      ? new FencingTokenRegressionError(this.hold.key, token, seenToken)
      : new StaleFencingTokenError(this.hold.key, token, seenToken);
  }

  /** Tokens of two stores have nothing to do with each other, so they do not share a row. PostgreSQL has no NUL in texts. */
  #name(key: string): string {
    const text = key.replace(/[\\\0]/g, (character) => (character === '\0' ? '\\0' : '\\\\'));
    return `${this.locks.store}/${this.locks.namespace}:${text}`;
  }
}

function byName(left: FenceKey, right: FenceKey): number {
  return left.name < right.name ? -1 : 1;
}
