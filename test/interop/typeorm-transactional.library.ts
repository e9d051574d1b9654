import { getRepositoryToken } from '@nestjs/typeorm';
import { typeormTransactional } from 'nestjs-distributed-lock/typeorm';
import { DataSource, type Repository } from 'typeorm';
import {
  addTransactionalDataSource,
  deleteDataSourceByName,
  runInTransaction,
  Transactional,
} from 'typeorm-transactional';
import { DATA_SOURCES, type Library, Wallet } from './library.js';

/** Its storage driver is chosen once per process, by `initializeTransactionalContext`, before. */
export function typeormTransactionalLibrary(name = 'typeorm-transactional'): Library {
  return {
    name,
    mode: typeormTransactional({ runInTransaction }),
    Transactional,
    imports: [],
    async dataSourceFactory(options) {
      const dataSource = new DataSource(options!);
      const { name = 'default' } = options as { readonly name?: string };
      return addTransactionalDataSource({ name, dataSource }).initialize();
    },
    inTransaction: (work) => runInTransaction(work),
    manager: (app, dataSource) =>
      app.get<Repository<Wallet>>(getRepositoryToken(Wallet, dataSource), { strict: false })
        .manager,
    forget: () => DATA_SOURCES.forEach((name) => deleteDataSourceByName(name)),
  };
}
