import { BaseEntity, Column, DataSource, Entity, PrimaryGeneratedColumn } from 'typeorm';
import type { DataSourceOptions, EntityManager, Logger } from 'typeorm';
import { createDatabase } from '../support/services.js';
import { databaseUrl } from '../support/with-services.js';
import { until } from '../support/until.js';

@Entity()
export class Account {
  @PrimaryGeneratedColumn() id!: number;
  @Column('text') owner!: string;
  @Column('int', { default: 0 }) balance!: number;
}

/** The same through ActiveRecord. */
@Entity()
export class Note extends BaseEntity {
  @PrimaryGeneratedColumn() declare id: number;
  @Column('text') declare text: string;
}

/** A database of its own for one spec file, with ways to look at it from outside. */
export class SpecDatabase {
  readonly #dataSources: DataSource[] = [];

  private constructor(
    readonly url: string,
    readonly drop: () => Promise<void>,
    /** Not adopted, on connections of its own: what everybody else sees. */
    readonly observer: DataSource,
  ) {}

  static async create(name: string): Promise<SpecDatabase> {
    const { url, drop } = await createDatabase(databaseUrl(), name);
    const observer = new DataSource({
      type: 'postgres',
      url,
      entities: [Account, Note],
      synchronize: true,
      applicationName: 'observer',
    });
    return new SpecDatabase(url, drop, await observer.initialize());
  }

  options(more: Partial<DataSourceOptions> & { name?: string } = {}): DataSourceOptions {
    return {
      type: 'postgres',
      url: this.url,
      entities: [Account, Note],
      applicationName: 'spec',
      poolSize: 10,
      ...more,
    } as DataSourceOptions;
  }

  /** Not initialized. */
  dataSource(more: Partial<DataSourceOptions> & { name?: string } = {}): DataSource {
    const dataSource = new DataSource(this.options(more));
    this.#dataSources.push(dataSource);
    return dataSource;
  }

  open(more: Partial<DataSourceOptions> & { name?: string } = {}): Promise<DataSource> {
    return this.dataSource(more).initialize();
  }

  /** Rows that are committed. */
  async owners(): Promise<string[]> {
    const rows = await this.observer.getRepository(Account).find({ order: { id: 'ASC' } });
    return rows.map(({ owner }) => owner);
  }

  async empty(): Promise<void> {
    await this.observer.query('TRUNCATE account, note');
  }

  async idleInTransaction(): Promise<number> {
    const [{ count }] = await this.observer.query<[{ count: number }]>(
      `SELECT count(*)::int FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
    );
    return count;
  }

  /** Nothing was left open, on the server and in the pools. */
  async expectNothingLeft(): Promise<void> {
    // Well under the 10 s after which the pool closes idle connections, and a forgotten transaction with them.
    const noneIdle = async () => (await this.idleInTransaction()) === 0;
    await until('no session idle in transaction', noneIdle, { deadlineMs: 2_000 });
    for (const dataSource of this.#dataSources.filter((it) => it.isInitialized)) {
      const { totalCount, idleCount, waitingCount } = pool(dataSource);
      if (totalCount !== idleCount || waitingCount > 0) {
        throw new Error(
          `A connection was not given back: ${totalCount} open, ${idleCount} idle, ${waitingCount} wait.`,
        );
      }
    }
  }

  async close(): Promise<void> {
    for (const dataSource of [...this.#dataSources, this.observer]) {
      if (dataSource.isInitialized) await dataSource.destroy();
    }
    await this.drop();
  }
}

/** Whose transaction it is. In TypeORM 0.3, the property has another name. */
export function dataSourceOf(manager: EntityManager): DataSource {
  return (manager as { readonly dataSource?: DataSource }).dataSource ?? manager.connection;
}

/** The connection pool of node-postgres behind a DataSource. */
export function pool(dataSource: DataSource): {
  totalCount: number;
  idleCount: number;
  waitingCount: number;
} {
  return (dataSource.driver as unknown as { master: ReturnType<typeof pool> }).master;
}

/** Every statement that TypeORM sends, in order. */
export class StatementLog implements Logger {
  readonly statements: string[] = [];
  logQuery(query: string): void {
    this.statements.push(query);
  }
  logQueryError(): void {}
  logQuerySlow(): void {}
  logSchemaBuild(): void {}
  logMigration(): void {}
  log(): void {}
}
