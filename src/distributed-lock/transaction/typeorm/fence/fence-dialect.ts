/** Sends one statement on the connection of the transaction. */
export type Send = (sql: string, parameters?: readonly unknown[]) => Promise<unknown>;

/** One key of a hold, as the fence writes it. */
export interface FenceKey {
  /** Store, namespace and key in one text. */
  readonly name: string;
  readonly token: bigint;
}

/** What the first statement of a locked transaction has to do. */
export interface FenceEntry {
  /** Quoted, with its schema. */
  readonly table: string;
  /** Sorted by name, at least one: all transactions take the rows in this order. */
  readonly keys: readonly FenceKey[];
  /** Names this attempt of the transaction, in every row: who reads it there later knows that the attempt was committed. */
  readonly nonce: string;
  /** The longest wait for a former holder, and the longest a statement, and the client between two of them, may take. */
  readonly budgetMs: number;
}

/** What the rows say after the statement. */
export interface FenceAnswer {
  /** Keys of which a higher token was there already. Not empty: the transaction is rolled back. */
  readonly stale: readonly { readonly name: string; readonly seenToken: bigint }[];
  /** The database's own name of the transaction, where it can be asked about later. */
  readonly transactionId?: string;
}

/** A transaction whose COMMIT was not answered. */
export interface LostCommit extends FenceEntry {
  readonly transactionId?: string;
  /** Nonces of earlier attempts of the same call; those were rolled back. */
  readonly earlierNonces: readonly string[];
}

/**
 * - `committed`, `rolled-back`: proven
 * - `pending`: the database still works on it; ask again
 * - `unknown`: nothing is left that could tell
 */
export type Witness = 'committed' | 'rolled-back' | 'pending' | 'unknown';

/**
 * What became of a statement of the fence that failed.
 *
 * - `table-missing`: the table, or a column of it, is not there
 * - `wait-timeout`: a former holder's transaction is still open
 * - `gave-up`: a deadlock or serialization failure; the transaction may be tried again
 */
export type FenceFailure = 'table-missing' | 'wait-timeout' | 'gave-up' | 'other';

/** The fence of one kind of database. Give an own one in `typeormTransactions({ fence: { dialect } })`. */
export interface FenceDialect {
  /** For messages and logs. */
  readonly name: string;
  /**
   * Makes the token of each key the row's, unless the row's is higher, and takes the row's lock until the transaction ends. Must be
   * decided by the newest committed row, whatever the isolation level.
   */
  enter(send: Send, entry: FenceEntry): Promise<FenceAnswer>;
  /**
   * Finds out what became of a COMMIT; sent on another connection, in a READ COMMITTED transaction that is rolled back afterwards. Must
   * wait for (or notice) a COMMIT that is on its way: a plain read would take it for rolled back.
   */
  witness(send: Send, lost: LostCommit): Promise<Witness>;
  failureOf(error: unknown): FenceFailure;
  /** Statements that make the table where it does not exist. */
  ddl(table: string): readonly string[];
  /** A statement that fails if the table or one of its columns is missing, and reads nothing. */
  check(table: string): string;
  /** Deletes rows that were not written for `olderThanMs`, by the clock of the database. */
  prune(table: string, olderThanMs: number): string;
}
