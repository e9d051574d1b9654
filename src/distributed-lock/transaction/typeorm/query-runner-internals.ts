import type { QueryRunner } from 'typeorm';

/** The parts of a query runner that TypeORM (0.3 and 1.x) keeps out of its types. */
interface QueryRunnerInternals {
  /** 0 outside a transaction, 1 in one, more inside savepoints. */
  transactionDepth?: number;
  /** PostgreSQL: gives the connection back; with an error, the pool closes it. */
  releasePostgresConnection?(error: Error): Promise<void>;
  /** The same of CockroachDB. */
  releaseConnection?(error: Error): Promise<void>;
  /** MySQL, MariaDB: the pooled connection; `destroy` closes its socket and removes it from the pool. */
  databaseConnection?: { destroy?(): void };
}

export function savepointDepth(runner: QueryRunner): number {
  return (runner as QueryRunnerInternals).transactionDepth ?? 0;
}

/** Makes the next commit or rollback that of the transaction, whatever savepoints were left open. */
export function forgetSavepoints(runner: QueryRunner): void {
  (runner as QueryRunnerInternals).transactionDepth = 1;
}

/** Makes the next transaction of the runner a savepoint of the one that is open on its connection. */
export function enterDepth(runner: QueryRunner, depth: number): void {
  (runner as QueryRunnerInternals).transactionDepth = depth;
}

/** The runner is outside of every transaction again. */
export function leaveDepth(runner: QueryRunner): void {
  (runner as QueryRunnerInternals).transactionDepth = 0;
  (runner as { isTransactionActive: boolean }).isTransactionActive = false;
}

/**
 * Closes the runner's connection instead of giving it back: the server then rolls back what is open on it. A pooled
 * connection with an open transaction would hand that transaction to the next borrower.
 *
 * @param release the runner's own way to give a connection back, for drivers that have no other.
 */
export async function discardConnection(
  runner: QueryRunner,
  cause: Error,
  release: () => Promise<void>,
): Promise<void> {
  if (runner.isReleased) return;
  const internals = runner as QueryRunnerInternals;
  if (internals.releasePostgresConnection !== undefined)
    return internals.releasePostgresConnection(cause);
  if (internals.releaseConnection !== undefined) return internals.releaseConnection(cause);
  internals.databaseConnection?.destroy?.();
  await release();
}
