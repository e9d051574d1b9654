import type { EntityManager } from 'typeorm';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { dataSourceName } from './adopted-data-source.js';
import type { ManagedTransaction } from './managed-transaction.js';
import { insideOf, joinedTo } from './transaction-context.js';
import { handOver, type TransactionMode } from './transaction-mode.js';

type Start = (isolation?: unknown) => Promise<void>;
type Work<T> = (manager: EntityManager) => Promise<T>;

/** START → work → COMMIT, or ROLLBACK. */
export async function runDirectly<T>(
  transaction: ManagedTransaction,
  start: Start,
  work: Work<T>,
): Promise<T> {
  await start();
  let result: T;
  try {
    result = await joinedTo(transaction, async () => work(transaction.manager));
  } catch (error) {
    await insideOf(transaction, () => transaction.rollback());
    throw transaction.guard.told(error);
  }
  await insideOf(transaction, () => transaction.commit());
  return result;
}

/**
 * The same steps, but taken by another library: it gets a query runner whose START, COMMIT and ROLLBACK are those of the locked transaction,
 * so that the method runs in the library's context, and everything else is as without it.
 *
 * @throws {LockConfigurationError} the library did not open a transaction; nothing ran in one
 */
export async function runThrough<T>(
  mode: TransactionMode,
  transaction: ManagedTransaction,
  start: Start,
  work: Work<T>,
): Promise<T> {
  let isStarted = false;
  let thrown: { readonly error: unknown } | null = null;
  const { dataSource } = transaction;
  const runner = Object.create(transaction.runner, {
    startTransaction: {
      value: (isolation: unknown) => {
        isStarted = true;
        return start(isolation);
      },
    },
    commitTransaction: { value: () => insideOf(transaction, () => transaction.commit()) },
    rollbackTransaction: {
      value: async () => {
        // After a START or a COMMIT that failed it is over already.
        if (!transaction.isOver) await insideOf(transaction, () => transaction.rollback());
      },
    },
    release: { value: () => Promise.resolve() },
  }) as ManagedTransaction['runner'];
  const inside = async () => {
    if (!isStarted) throw notOpened(mode, transaction);
    try {
      return await joinedTo(transaction, async () => work(transaction.manager));
    } catch (error) {
      thrown = { error };
      throw error;
    }
  };
  try {
    return await handOver(dataSource, runner, () => mode.open(dataSourceName(dataSource), inside));
  } catch (error) {
    throw isSame(thrown, error) ? transaction.guard.told(error) : error;
  } finally {
    if (!transaction.isOver) await transaction.rollback();
  }
}

function isSame(thrown: { readonly error: unknown } | null, error: unknown): boolean {
  return thrown?.error === error;
}

function notOpened(
  { library }: TransactionMode,
  { dataSource, key }: ManagedTransaction,
): LockConfigurationError {
  return new LockConfigurationError(
    `Lock "${key}": ${library} did not open a transaction on DataSource "${dataSourceName(dataSource)}". Register the very DataSource with it, ` +
      'under the same name, and ask for no lock inside one of its transactions (outsideTransaction() does not leave those).',
  );
}
