import { type INestApplicationContext, Module, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  DistributedLockModule,
  DistributedLockService,
  memoryStore,
} from 'nestjs-distributed-lock';
import {
  typeormTransactions,
  type TypeOrmTransactionsOptions,
} from 'nestjs-distributed-lock/typeorm';
import type { DataSourceOptions, EntityManager, Logger } from 'typeorm';
import { StatementLog } from '../transaction/database.js';
import { DATA_SOURCES, type DataSourceName, type Library, Wallet } from './library.js';

const shortened = (query: string) =>
  query.includes('lock_fence') ? 'fence' : query.replace(/^(\S+ ?\S*).*/s, '$1');

/** One application whose transactions belong to a library. */
export class InteropApp {
  private constructor(
    readonly nest: INestApplicationContext,
    readonly library: Library,
    /** In order: events of the locks, and statements of the default DataSource. */
    readonly happened: string[],
  ) {}

  /** @throws what the application throws at boot. */
  static async start(
    library: Library,
    urls: Readonly<Record<DataSourceName, string>>,
    providers: readonly Provider[] = [],
    options: TypeOrmTransactionsOptions = {},
  ): Promise<InteropApp> {
    const happened: string[] = [];
    const logger: Logger = Object.assign(new StatementLog(), {
      logQuery: (query: string) => happened.push(shortened(query)),
    });
    class AppModule {}
    Module({
      imports: [
        ...DATA_SOURCES.map((name) =>
          TypeOrmModule.forRootAsync({
            name,
            useFactory: (): DataSourceOptions & { name: string } => ({
              type: 'postgres',
              name,
              url: urls[name],
              entities: [Wallet],
              synchronize: true,
              poolSize: 10,
              ...(name === 'default' && { logger }),
            }),
            dataSourceFactory: (given) => library.dataSourceFactory(given),
          }),
        ),
        TypeOrmModule.forFeature([Wallet]),
        TypeOrmModule.forFeature([Wallet], 'audit'),
        ...library.imports,
        DistributedLockModule.forRoot({
          store: memoryStore(),
          transactions: typeormTransactions({
            mode: library.mode,
            onWarning: () => undefined,
            ...options,
          }),
        }),
      ],
      providers: [...providers],
    })(AppModule);
    try {
      const nest = await NestFactory.createApplicationContext(AppModule, {
        logger: false,
        abortOnError: false,
      });
      happened.length = 0;
      const app = new InteropApp(nest, library, happened);
      app.locks.events.on(({ type }) => happened.push(type));
      return app;
    } catch (error) {
      library.forget();
      throw error;
    }
  }

  get locks(): DistributedLockService {
    return this.nest.get(DistributedLockService);
  }

  manager(dataSource: DataSourceName = 'default'): EntityManager {
    return this.library.manager(this.nest, dataSource);
  }

  async close(): Promise<void> {
    await this.nest.close();
    this.library.forget();
  }
}
