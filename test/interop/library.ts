import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import type { TransactionMode } from 'nestjs-distributed-lock/typeorm';
import { Column, type DataSource, type DataSourceOptions, Entity, PrimaryColumn } from 'typeorm';
import type { EntityManager } from 'typeorm';

@Entity()
export class Wallet {
  @PrimaryColumn('text') id!: string;
  @Column('int', { default: 0 }) balance!: number;
}

/** Names of the DataSources of every application here. */
export const DATA_SOURCES = ['default', 'audit'] as const;
export type DataSourceName = (typeof DATA_SOURCES)[number];

/** A library that applications open their transactions with, as the clauses of `clauses.ts` need to know it. */
export interface Library {
  readonly name: string;
  readonly mode: TransactionMode;
  /** Its decorator, for the default DataSource. */
  readonly Transactional: () => MethodDecorator;
  /** What its documentation tells to import. */
  readonly imports: readonly DynamicModule[];
  /** For `TypeOrmModule.forRootAsync`. */
  dataSourceFactory(options?: DataSourceOptions): Promise<DataSource>;
  /** Opens a transaction of its own on the default DataSource. */
  inTransaction<T>(work: () => Promise<T>): Promise<T>;
  /** What the code of an application reads and writes through: joined where the library says so. */
  manager(app: Pick<INestApplicationContext, 'get'>, dataSource: DataSourceName): EntityManager;
  /** Takes the DataSources of a closed application out of the library's memory. */
  forget(): void;
}
