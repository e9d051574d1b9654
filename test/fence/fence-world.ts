import { randomUUID } from 'node:crypto';
import { DataSource, type DataSourceOptions, type EntityManager } from 'typeorm';
import { inject } from 'vitest';
import {
  type TypeOrmTransactionRunner,
  type TypeOrmTransactionsOptions,
  typeormTransactions,
} from '../../src/distributed-lock/transaction/typeorm/index.js';
import { createDatabase } from '../support/services.js';
import { until } from '../support/until.js';
import { SpecHold } from '../transaction/spec-hold.js';
import { StatementLog } from '../transaction/database.js';

/** Databases that the fence is tested on. `mysql` is the two-statement form, spoken to a MariaDB server. */
export const WORLDS = ['postgres', 'mariadb', 'mysql'] as const;
export type WorldName = (typeof WORLDS)[number];

export function canHave(name: WorldName): boolean {
  return (name === 'postgres' ? inject('databaseUrl') : inject('mysqlUrl')) !== null;
}

/** What a spec makes of a DataSource. */
export interface Actor {
  readonly dataSource: DataSource;
  readonly transactions: TypeOrmTransactionRunner;
  readonly log: StatementLog;
  readonly warnings: string[];
}

/** A database with an account, transactions under holds that the spec makes itself, and ways to look at it from outside. */
export class FenceWorld {
  readonly #dataSources: DataSource[] = [];
  readonly account = `account_${randomUUID().slice(0, 8)}`;
  readonly fences = `fence_${randomUUID().slice(0, 8)}`;
  #observer: DataSource | null = null;

  private constructor(
    readonly name: WorldName,
    readonly url: string,
    private readonly drop: () => Promise<void>,
  ) {}

  static async open(name: WorldName): Promise<FenceWorld> {
    const own =
      name === 'postgres'
        ? await createDatabase(inject('databaseUrl')!, 'fence')
        : { url: inject('mysqlUrl')!, drop: async () => undefined };
    const world = new FenceWorld(name, own.url, own.drop);
    world.#observer = await world.dataSource().initialize();
    const engine = name === 'postgres' ? '' : ' ENGINE = InnoDB';
    await world.query(
      `CREATE TABLE ${world.account} (id int PRIMARY KEY, balance int NOT NULL)${engine}`,
    );
    await world.query(`INSERT INTO ${world.account} VALUES (1, 100), (2, 100)`);
    return world;
  }

  get isPostgres(): boolean {
    return this.name === 'postgres';
  }

  /** Not initialized. */
  dataSource(more: Partial<DataSourceOptions> & { url?: string } = {}): DataSource {
    const dataSource = new DataSource({
      type: this.name,
      url: this.url,
      synchronize: true, // makes the table of the fence
      entities: [],
      poolSize: 10,
      ...more,
    } as DataSourceOptions);
    this.#dataSources.push(dataSource);
    return dataSource;
  }

  /** Transactions of one process, fenced unless told otherwise. */
  async actor(
    options: TypeOrmTransactionsOptions = {},
    more: Partial<DataSourceOptions> & { url?: string } = {},
    store = 'memory',
  ): Promise<Actor> {
    const log = new StatementLog();
    const warnings: string[] = [];
    const dataSource = await this.dataSource({ logger: log, ...more }).initialize();
    const transactions = typeormTransactions({
      dataSource,
      fence: { table: this.fences },
      onWarning: (message) => warnings.push(message),
      ...options,
    });
    transactions.bind({ store, namespace: 'spec', hasFencingTokens: true });
    return { dataSource, transactions, log, warnings };
  }

  /** Seen from outside, on a connection of its own. */
  query<Row = Record<string, unknown>>(sql: string, values: unknown[] = []): Promise<Row[]> {
    return this.#observer!.query(sql, values);
  }

  async balance(id = 1): Promise<number> {
    return readBalance(this.#observer!.manager, this.account, id);
  }

  async reset(): Promise<void> {
    await this.query(`UPDATE ${this.account} SET balance = 100`);
    await this.query(`DELETE FROM ${this.fences}`).catch(() => []);
  }

  read(manager: EntityManager, id = 1): Promise<number> {
    return readBalance(manager, this.account, id);
  }

  async write(manager: EntityManager, balance: number, id = 1): Promise<void> {
    await manager.query(`UPDATE ${this.account} SET balance = ${balance} WHERE id = ${id}`);
  }

  async add(manager: EntityManager, amount: number, id = 1): Promise<void> {
    await this.write(manager, (await this.read(manager, id)) + amount, id);
  }

  /** Polls until so many sessions wait for a row that another transaction holds. */
  untilWaiting(who: string, count = 1): Promise<void> {
    // InnoDB refreshes what it says about transactions only if nobody has read it for 0.1 s.
    const everyMs = this.isPostgres ? 5 : 130;
    return until(`${who} at the fence`, async () => (await this.#waiting()) >= count, { everyMs });
  }

  async #waiting(): Promise<number> {
    const [row] = this.isPostgres
      ? await this.query<{ n: string }>(
          `SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        )
      : await this.query<{ n: string }>(
          `SELECT count(*) AS n FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%${this.fences}%'`,
        );
    return Number(row!.n);
  }

  async close(): Promise<void> {
    if (!this.isPostgres) {
      await this.query(`DROP TABLE IF EXISTS ${this.account}, ${this.fences}`);
    }
    for (const dataSource of this.#dataSources) {
      if (dataSource.isInitialized) await dataSource.destroy();
    }
    await this.drop();
  }
}

async function readBalance(manager: EntityManager, table: string, id: number): Promise<number> {
  const [row] = await manager.query<{ balance: number }[]>(
    `SELECT balance FROM ${table} WHERE id = ${id}`,
  );
  return row!.balance;
}

/** A hold with a token, on key `account:1` unless told otherwise. */
export function holdWith(token: number | bigint, key = 'account:1'): SpecHold {
  return new SpecHold(key, BigInt(token));
}
