import type { DataSource } from 'typeorm';
import {
  MaxHoldExceededError,
  TransactionContextEndedError,
} from '../../distributed-lock.errors.js';
import type { OuterEnd, OuterTransaction } from '../transaction-runner.js';
import { around } from './around.js';
import type { FencePass } from './fence/fence-pass.js';
import { type KeptHold, KeptHolds } from './kept-holds.js';
import type { BoundedHold } from './max-hold.js';
import { savepointDepth } from './query-runner-internals.js';
import { isLoss, lossWith } from './transaction-guard.js';
import type { TransactionRecord } from './transaction-record.js';

/** Databases in whose transactions locks can be held until their end: COMMIT is a statement there, and the snapshots are known. */
export const CAN_HOLD: readonly string[] = ['postgres', 'mysql', 'mariadb'];

const UP_TO_READ_COMMITTED = new Set(['READ COMMITTED', 'READ UNCOMMITTED']);

/**
 * Why a lock that is held until the end of the transaction would not be enough. Above READ COMMITTED, a transaction may read from a
 * snapshot that is older than the lock: then it does not see what the last holder has committed. On PostgreSQL the fence notices
 * that (40001); in InnoDB it passes.
 *
 * @param declared the isolation level that was set for this transaction, where one was.
 * @returns `null`: it is enough.
 */
export async function unsafeToHold(
  { dataSource, runner }: TransactionRecord,
  isFenced: boolean,
  declared: string | undefined,
): Promise<string | null> {
  const { type } = dataSource.options;
  if (!CAN_HOLD.includes(type))
    return `It cannot be held until that transaction ends: a DataSource of type "${type}" does not allow it.`;
  if (type === 'postgres' && isFenced) return null;
  const isolation = (declared ?? (await askIsolation(dataSource, runner))).toUpperCase();
  if (UP_TO_READ_COMMITTED.has(isolation)) return null;
  return (
    `It cannot be held until that transaction ends: at ${isolation} its snapshot may be older than the lock, and ` +
    `${isFenced ? `the fence does not notice that on ${type}` : 'without a fence nobody notices'}; allowed: READ COMMITTED.`
  );
}

async function askIsolation(
  { options }: DataSource,
  runner: TransactionRecord['runner'],
): Promise<string> {
  if (options.type === 'postgres') {
    const [row] = (await runner.query('SHOW transaction_isolation')) as Record<string, string>[];
    return row?.['transaction_isolation'] ?? 'unknown';
  }
  // Its name before MySQL 5.7.20 and MariaDB 11.1 was tx_isolation.
  const [row] = (await runner.query(
    `SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')`,
  )) as { readonly Value: string }[];
  return row?.Value.replace('-', ' ') ?? 'unknown';
}

/** A transaction that others opened and will end; locks stay in it until then. */
export class TypeOrmOuterTransaction implements OuterTransaction {
  constructor(
    private readonly transaction: TransactionRecord,
    private readonly bound: (hold: Parameters<OuterTransaction['keep']>[0]) => BoundedHold,
    private readonly passOf: (hold: BoundedHold) => Promise<FencePass | null>,
    private readonly maxHoldMs: number,
  ) {}

  get identity(): object {
    return this.transaction;
  }

  async keep(...[hold, ended]: Parameters<OuterTransaction['keep']>): Promise<void> {
    const { transaction } = this;
    const bounded = this.bound(hold);
    const pass = await this.passOf(bounded);
    const depth = savepointDepth(transaction.runner);
    try {
      await pass?.enter(transaction.runner);
      bounded.assertHeld();
    } catch (error) {
      throw isLoss(error) ? lossWith(error, { methodRan: false, committed: false }) : error;
    }
    if (!transaction.isOpen) throw new TransactionContextEndedError(hold.key);
    if (transaction.kept === null) {
      transaction.kept = new KeptHolds();
      this.#watchRelease(transaction.kept);
    }
    transaction.kept.add({ depth, ...limited(bounded, ended, this.maxHoldMs) });
  }

  /** The runner is given back without an end that anybody told of: its connection died, or the transaction lives on in it. */
  #watchRelease(kept: KeptHolds): void {
    if (this.transaction.endsItsHolds) return;
    around(this.transaction.runner, 'release', async (release) => {
      await kept.transactionEnded('unknown');
      await release();
    });
  }
}

/**
 * A transaction that nobody ends does not keep a renewed lock for ever; after that time it does not commit any more, and the lock is left
 * to its lease: the COMMIT may have been sent just before.
 */
function limited(
  hold: BoundedHold,
  ended: (end: OuterEnd) => Promise<void>,
  maxHoldMs: number,
): Omit<KeptHold, 'depth'> {
  if (!hold.renews) return { hold, ended };
  let isExceeded = false;
  const timer = setTimeout(() => {
    isExceeded = true;
    void ended('unknown');
  }, maxHoldMs).unref();
  return {
    hold: {
      key: hold.key,
      assertHeld: () => {
        if (isExceeded) throw new MaxHoldExceededError(hold.key, maxHoldMs);
        hold.assertHeld();
      },
    },
    ended: async (end) => {
      clearTimeout(timer);
      if (!isExceeded) await ended(end);
    },
  };
}
