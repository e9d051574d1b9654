import { DataSource, type DataSourceOptions } from 'typeorm';
import { AdoptedDataSource } from './adopted-data-source.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';

/**
 * For `TypeOrmModule.forRootAsync({ dataSourceFactory: lockedDataSource })`: a DataSource that is adopted before anything
 * can be made from it. Needed only where repositories are used before the application is bootstrapped.
 *
 * @returns the DataSource, initialized (unless Nest's `manualInitialization` is set).
 * @throws what `DataSource.initialize` throws; nothing is left open.
 */
export async function lockedDataSource(options?: DataSourceOptions): Promise<DataSource> {
  if (options === undefined) {
    throw new LockConfigurationError(
      'lockedDataSource was called without options; allowed: TypeORM DataSourceOptions.',
    );
  }
  const dataSource = new DataSource(options);
  AdoptedDataSource.of(dataSource);
  const { manualInitialization = false } = options as { readonly manualInitialization?: boolean };
  return manualInitialization ? dataSource : dataSource.initialize();
}
