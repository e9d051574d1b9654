import { createHash } from 'node:crypto';
import type { DataSource, QueryRunner } from 'typeorm';
import { type Duration, durationMs, show } from '../../../distributed-lock.duration.js';
import {
  FenceTableMissingError,
  LockConfigurationError,
} from '../../../distributed-lock.errors.js';
import { outsideTransactions } from '../transaction-context.js';
import type { FenceDialect, Send } from './fence-dialect.js';
import { fenceDatabaseOf, fenceDialect } from './fence-dialects.js';
import { DEFAULT_FENCE_TABLE } from './fence-schema.js';

/** Options of the fence, for all transactions of a runner. */
export interface FenceOptions {
  /** Name of the table, without quotes; a schema may stand before it: `'locks.lock_fence'`. Default `'lock_fence'`, in the DataSource's schema. */
  readonly table?: string;
  /**
   * PostgreSQL: prepare the statement by name, once per connection. Cheaper; not for connections through PgBouncer before 1.21
   * in transaction mode. Does not pass through TypeORM's logger. Default `false`.
   */
  readonly prepared?: boolean;
  /** For databases that this package has no fence for. Default: that of the DataSource's type. */
  readonly dialect?: FenceDialect;
}

/** The fence's table in one DataSource. */
export class FenceTable {
  /** Quoted, with its schema. */
  readonly table: string;
  #ready: Promise<void> | null = null;

  private constructor(
    private readonly dataSource: DataSource,
    readonly dialect: FenceDialect,
    private readonly createRunner: () => QueryRunner,
    private readonly sourceName: string,
    private readonly prepared: boolean,
    table: string | undefined,
  ) {
    this.table = quoted(dataSource, table);
  }

  /** @returns `null` where there is no dialect for the DataSource. */
  static of(
    dataSource: DataSource,
    createRunner: () => QueryRunner,
    sourceName: string,
    { table, dialect, prepared = false }: FenceOptions,
  ): FenceTable | null {
    const database = fenceDatabaseOf(dataSource.options.type);
    const chosen = dialect ?? (database === null ? null : fenceDialect(database));
    if (chosen === null) return null;
    return new FenceTable(
      dataSource,
      chosen,
      createRunner,
      sourceName,
      prepared && dataSource.options.type === 'postgres',
      table,
    );
  }

  /**
   * Makes sure that the table is there; with the DataSource's `synchronize: true`, makes it. Asks the database once.
   *
   * @throws {FenceTableMissingError} with advice.
   */
  ready(): Promise<void> {
    this.#ready ??= this.onConnection((runner) => this.#verify(runner)).catch((error: unknown) => {
      this.#ready = null; // a migration may run before the next call
      throw error;
    });
    return this.#ready;
  }

  /** How the fence's statements are sent in a transaction. */
  sendIn(runner: QueryRunner): Send {
    return this.prepared
      ? (sql, values) => sendPrepared(runner, sql, values ?? [])
      : (sql, values) => runner.query(sql, [...(values ?? [])]);
  }

  /** The table was there and is not any more. */
  missing(cause: unknown): FenceTableMissingError {
    this.#ready = null;
    return new FenceTableMissingError(this.sourceName, this.table, { cause });
  }

  /** Runs `work` on a connection of its own, apart from every transaction of the caller. */
  onConnection<T>(work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    return outsideTransactions(async () => {
      const runner = this.createRunner();
      try {
        return await work(runner);
      } finally {
        await runner.release();
      }
    });
  }

  async #verify(runner: QueryRunner): Promise<void> {
    const failure = await this.#check(runner);
    if (failure === null) return;
    if (this.dialect.failureOf(failure) !== 'table-missing') throw failure;
    if (this.dataSource.options.synchronize !== true) throw this.missing(failure);
    try {
      for (const statement of this.dialect.ddl(this.table)) await runner.query(statement);
    } catch (error) {
      // Another process may have made it at the same moment, which `IF NOT EXISTS` does not always survive.
      if ((await this.#check(runner)) !== null) throw error;
    }
    const still = await this.#check(runner);
    if (still !== null) {
      throw new LockConfigurationError(
        `Table ${this.table} of DataSource ${show(this.sourceName)} exists, but is not one of this version of the fence: ${still instanceof Error ? still.message : show(still)}`,
        { cause: still },
      );
    }
  }

  /** @returns the error. */
  async #check(runner: QueryRunner): Promise<unknown> {
    try {
      await runner.query(this.dialect.check(this.table));
      return null;
    } catch (error) {
      return error;
    }
  }
}

/** The part of a client of node-postgres that is used here. */
interface PgClient {
  query(config: {
    readonly name: string;
    readonly text: string;
    readonly values: readonly unknown[];
  }): Promise<{ readonly rows: unknown }>;
}

/** Equal texts have equal names: one plan per connection and statement. */
async function sendPrepared(
  runner: QueryRunner,
  text: string,
  values: readonly unknown[],
): Promise<unknown> {
  const client = (await runner.connect()) as PgClient;
  const name = `lock_fence_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
  const { rows } = await client.query({ name, text, values });
  return rows;
}

function quoted({ driver, options }: DataSource, table: string | undefined): string {
  const { schema } = options as { readonly schema?: string };
  const parts = table?.split('.') ?? [schema, DEFAULT_FENCE_TABLE];
  return parts
    .filter((part) => part !== undefined)
    .map((part) => driver.escape(part))
    .join('.');
}

/** Shortest age of a row that may go: longer than leases and locked transactions are. */
const MIN_AGE_MS = 3_600_000;

/**
 * Deletes the fence's rows of keys that were not locked for a while: the table has one row per key ever locked. Run it from time to time
 * where keys come and go.
 *
 * A row that is gone refuses nobody: `olderThan` must be longer than the longest lease plus the longest locked transaction, at
 * least one hour.
 *
 * @throws {LockConfigurationError} for a shorter age, or a DataSource without a fence.
 */
export async function pruneFences(
  dataSource: DataSource,
  { olderThan, ...fence }: { readonly olderThan: Duration } & FenceOptions,
): Promise<void> {
  const ageMs = durationMs('olderThan', olderThan, MIN_AGE_MS);
  const fences = FenceTable.of(dataSource, () => dataSource.createQueryRunner(), 'default', fence);
  if (fences === null) {
    throw new LockConfigurationError(
      `pruneFences: there is no fence for a DataSource of type ${show(dataSource.options.type)}; allowed: one with a dialect.`,
    );
  }
  await fences.onConnection((runner) => runner.query(fences.dialect.prune(fences.table, ageMs)));
}
