import { AsyncLocalStorage } from 'node:async_hooks';
import type { QueryRunner } from 'typeorm';
import { around } from './around.js';
import { enterDepth, leaveDepth, savepointDepth } from './query-runner-internals.js';
import { innermost } from './transaction-context.js';

/** DataSources with one connection, for which TypeORM has one query runner for everybody. */
export const SINGLE_CONNECTION = new Set(['better-sqlite3']);

/** The parts of TypeORM's driver of better-sqlite3 that are used here. */
interface Driver {
  createQueryRunner(mode: string): QueryRunner;
  /** The one that everybody gets. */
  queryRunner?: QueryRunner | undefined;
  readonly databaseConnection?: { readonly inTransaction: boolean; exec(sql: string): unknown };
}

/** The runner inside one of whose statements the current chain is: hooks of subscribers. */
const statements = new AsyncLocalStorage<QueryRunner>();

/**
 * Gives one connection to one user at a time, in the order in which they ask: to a transaction until its end, to a statement without one
 * until it is answered. Without it, TypeORM sends the BEGIN of a second transaction into the first one.
 *
 * What a chain does inside its own open transaction never waits: it would wait for itself. Another runner's transaction there becomes a
 * savepoint, as TypeORM does it on these databases.
 */
export class SingleConnection {
  /** Who has the connection. */
  #owner: QueryRunner | null = null;
  /** Statements of the owner, and of what is nested in it, that are not answered yet. */
  #running = 0;
  readonly #waiting: { readonly runner: QueryRunner; readonly enter: () => void }[] = [];
  /** Transactions that are savepoints of another runner's, with the depth they began at. */
  readonly #nested = new WeakMap<QueryRunner, number>();

  constructor(private readonly driver: Driver) {}

  install(): void {
    const { driver } = this;
    if (driver.queryRunner !== undefined) this.#share(driver.queryRunner);
    around(driver, 'createQueryRunner', (create) => {
      driver.queryRunner = undefined; // else it would be the same one again
      const runner = create() as QueryRunner;
      driver.queryRunner = undefined;
      this.#share(runner);
      // As with a pool, where nobody can use a runner that was given back.
      around(runner, 'release', async (release) => {
        (runner as { isReleased: boolean }).isReleased = true;
        await release();
      });
      return runner;
    });
  }

  #share(runner: QueryRunner): void {
    around(runner, 'query', (send) => this.#use(runner, send));
    around(runner, 'startTransaction', (start) => this.#start(runner, start));
    for (const end of ['commitTransaction', 'rollbackTransaction'] as const)
      around(runner, end, (send) => this.#end(runner, send));
    around(runner, 'release', async (release) => {
      this.#endOpen(runner);
      await release();
    });
  }

  async #use(runner: QueryRunner, send: () => unknown): Promise<unknown> {
    if (this.#isInside(runner)) this.#running += 1;
    else await this.#turn(runner);
    try {
      return await statements.run(runner, send);
    } finally {
      this.#running -= 1;
      this.#passOn();
    }
  }

  async #start(runner: QueryRunner, start: () => unknown): Promise<unknown> {
    const owner = this.#owner;
    if (owner === null || owner === runner || !this.#isInside(runner))
      return this.#use(runner, start);
    if (savepointDepth(runner) === 0) {
      const depth = Math.max(savepointDepth(owner), 1);
      enterDepth(runner, depth);
      this.#nested.set(runner, depth);
    }
    return start();
  }

  async #end(runner: QueryRunner, send: () => unknown): Promise<unknown> {
    try {
      return await send();
    } finally {
      const depth = this.#nested.get(runner);
      if (depth !== undefined && savepointDepth(runner) <= depth) {
        leaveDepth(runner);
        this.#nested.delete(runner);
      }
    }
  }

  /** A runner that is given back with an open transaction: nobody could end it any more. */
  #endOpen(runner: QueryRunner): void {
    if (this.#owner !== runner) return;
    if (this.#isInTransaction) this.driver.databaseConnection?.exec('ROLLBACK');
    this.#passOn();
  }

  #isInside(runner: QueryRunner): boolean {
    const owner = this.#owner;
    if (owner === null) return false;
    return (
      owner === runner ||
      statements.getStore() === owner ||
      innermost((transaction) => transaction.runner === owner && transaction.isOpen) !== undefined
    );
  }

  async #turn(runner: QueryRunner): Promise<void> {
    if (this.#owner === null) {
      this.#owner = runner;
      this.#running = 1;
      return;
    }
    await new Promise<void>((enter) => this.#waiting.push({ runner, enter }));
  }

  /** SQLite itself says whether a transaction is open: it ends some by itself, such as after a full disk. */
  #passOn(): void {
    if (this.#running > 0 || this.#isInTransaction) return;
    const next = this.#waiting.shift();
    this.#owner = next?.runner ?? null;
    if (next === undefined) return;
    this.#running = 1;
    next.enter();
  }

  get #isInTransaction(): boolean {
    return this.driver.databaseConnection?.inTransaction === true;
  }
}
