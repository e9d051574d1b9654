import { setTimeout as pause } from 'node:timers/promises';
import { DataSource, type DataSourceOptions, type QueryResult, type QueryRunner } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import { dialectOf, type TableDialect } from './table.dialect.js';
import { isTransient } from './table.errors.js';

export interface TableConnectionOptions {
  readonly commandTimeoutMs: number;
  readonly connections: number;
}

/**
 * Statements on connections of the store's own: each commits by itself, and none can join, or wait for, a transaction or a pool of
 * the application.
 */
export class TableConnection {
  readonly dialect: TableDialect;
  #dataSource: DataSource | null = null;

  constructor(
    private readonly options: DataSourceOptions,
    private readonly own: TableConnectionOptions,
  ) {
    this.dialect = dialectOf(options.type);
  }

  /** @throws what the driver throws; may be called again then. */
  async connect(): Promise<void> {
    const dataSource = new DataSource(ownOptions(this.options, this.own));
    this.#dataSource = await dataSource.initialize();
  }

  /**
   * Sends a statement; sends it again if it was undone because it met another one.
   *
   * @throws {LockStoreUnavailableError} after the command timeout; the statement may still be executed. Else what the driver throws.
   */
  async query(sql: string, values: readonly unknown[]): Promise<QueryResult> {
    const deadline = performance.now() + this.own.commandTimeoutMs;
    for (;;) {
      try {
        return await this.#queryOnce(this.dialect.native(sql), values, deadline);
      } catch (error) {
        if (!isTransient(error) || performance.now() >= deadline) throw error;
      }
      await pause(1 + Math.random() * 20);
    }
  }

  async close(): Promise<void> {
    const dataSource = this.#dataSource;
    this.#dataSource = null;
    if (dataSource?.isInitialized) await dataSource.destroy();
  }

  async #queryOnce(
    sql: string,
    values: readonly unknown[],
    deadline: number,
  ): Promise<QueryResult> {
    const dataSource = this.#dataSource;
    if (!dataSource) throw new LockStoreUnavailableError('table', null, 'not connected');
    const runner = dataSource.createQueryRunner('master');
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(
          new LockStoreUnavailableError(
            'table',
            null,
            `no answer within ${this.own.commandTimeoutMs} ms`,
          ),
        );
        drop(runner);
      }, deadline - performance.now());
    });
    const answer = runner.query(sql, [...values], true);
    try {
      return await Promise.race([answer, timeout]);
    } finally {
      clearTimeout(timer);
      // A connection that was asked for too late goes back, too.
      const released = answer.catch(() => undefined).then(() => runner.release());
      released.catch(() => undefined); // it is gone already
    }
  }
}

/** Ends the connection of a statement that is not answered: the pool would hand it out again, or wait for it. */
function drop(runner: QueryRunner): void {
  const { databaseConnection: raw } = runner as unknown as { databaseConnection?: RawConnection };
  raw?.destroy?.();
  (raw?.connection?.stream ?? raw?.stream)?.destroy?.();
}

/** The parts of a `pg` or `mysql2` connection that end it without a goodbye. */
interface RawConnection {
  destroy?(): void;
  readonly stream?: { destroy?(): void };
  readonly connection?: { readonly stream?: { destroy?(): void } };
}

/** Same server and credentials; nothing of the application's entities, caches and logs. */
function ownOptions(
  options: DataSourceOptions,
  { connections, commandTimeoutMs }: TableConnectionOptions,
): DataSourceOptions {
  const bare = {
    ...options,
    entities: [],
    subscribers: [],
    migrations: [],
    synchronize: false,
    dropSchema: false,
    migrationsRun: false,
    cache: false,
    logging: false,
    poolSize: connections,
  };
  if (options.type === 'better-sqlite3') {
    // The driver waits inside the process, so that the transaction it waits for could not end: never wait there.
    return { ...bare, timeout: 0 } as unknown as DataSourceOptions;
  }
  const pool =
    options.type === 'postgres'
      ? { max: connections, connectionTimeoutMillis: commandTimeoutMs, keepAlive: true }
      : { connectionLimit: connections, connectTimeout: commandTimeoutMs, charset: 'utf8mb4' };
  return { ...bare, extra: { ...options.extra, ...pool } } as DataSourceOptions;
}

/** @throws {LockConfigurationError} for anything that is not a DataSource, or options of one, that several processes can share. */
export function checkDataSource(value: unknown): DataSourceOptions {
  const options = (value as { readonly options?: unknown } | null)?.options ?? value;
  if (typeof options !== 'object' || options === null || !('type' in options)) {
    throw new LockConfigurationError(
      `Option "dataSource" of tableStore is ${show(value)}; allowed: a TypeORM DataSource, or the options of one.`,
    );
  }
  const { type, database } = options as { type: string; database?: unknown };
  dialectOf(type);
  if (
    type === 'better-sqlite3' &&
    (typeof database !== 'string' || /^(|:memory:|file::memory:.*)$/.test(database))
  ) {
    throw new LockConfigurationError(
      'Option "dataSource" of tableStore is an SQLite database in memory, which no other connection sees; allowed: a file. For one process take memoryStore().',
    );
  }
  return options as DataSourceOptions;
}
