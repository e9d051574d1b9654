import { DataSource } from 'typeorm';
import { show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { dataSourceName } from './adopted-data-source.js';

/**
 * Drivers with one query runner for everybody, in which concurrent transactions would mix, and drivers without SQL. (That of
 * better-sqlite3 is another one, see `SingleConnection`.)
 */
const UNSUPPORTED = new Set([
  'capacitor',
  'cordova',
  'expo',
  'mongodb',
  'nativescript',
  'react-native',
  'sqlite',
  'sqljs',
]);

/**
 * @param wanted names and DataSources of the option `transactions.dataSource`; empty: all that can be used.
 * @param found the DataSources of the application.
 * @returns the chosen ones by name; the first is the first wanted.
 * @throws {LockConfigurationError} if one is missing, cannot be used, or shares its name with another.
 */
export function chooseDataSources(
  wanted: readonly (DataSource | string)[],
  found: Iterable<DataSource>,
): ReadonlyMap<string, DataSource> {
  const candidates = [
    ...new Set([...wanted.filter((each) => each instanceof DataSource), ...found]),
  ];
  if (wanted.length > 0) return byName(wanted.map((each) => pick(each, candidates)));
  const usable = candidates.filter((dataSource) => !UNSUPPORTED.has(dataSource.options.type));
  if (usable.length > 0) return byName(usable);
  const [unusable] = candidates;
  if (unusable !== undefined) throw unsupported(unusable);
  throw new LockConfigurationError(
    'No TypeORM DataSource was found in the application. Import TypeOrmModule.forRoot(…), or pass one: ' +
      'typeormTransactions({ dataSource }). If there is one, check that only one copy of the package typeorm is installed.',
  );
}

function pick(wanted: DataSource | string, candidates: readonly DataSource[]): DataSource {
  const named = candidates.filter((each) => each === wanted || dataSourceName(each) === wanted);
  const [dataSource] = named;
  if (dataSource === undefined) {
    const names = candidates.map(dataSourceName);
    throw new LockConfigurationError(
      `Option "transactions.dataSource" is ${show(wanted)}; allowed: ${names.length > 0 ? names.map(show).join(', ') : 'no DataSource was found in the application'}.`,
    );
  }
  if (named.length > 1) throw ambiguous(dataSourceName(dataSource));
  if (UNSUPPORTED.has(dataSource.options.type)) throw unsupported(dataSource);
  return dataSource;
}

function byName(dataSources: readonly DataSource[]): ReadonlyMap<string, DataSource> {
  const chosen = new Map<string, DataSource>();
  for (const dataSource of dataSources) {
    const name = dataSourceName(dataSource);
    if (chosen.has(name) && chosen.get(name) !== dataSource) throw ambiguous(name);
    chosen.set(name, dataSource);
  }
  return chosen;
}

function ambiguous(name: string): LockConfigurationError {
  return new LockConfigurationError(
    `Two DataSources are called ${show(name)}. Give them names in TypeOrmModule.forRoot({ name: … }), or pass the one to use: ` +
      'typeormTransactions({ dataSource }).',
  );
}

function unsupported(dataSource: DataSource): LockConfigurationError {
  return new LockConfigurationError(
    `DataSource ${show(dataSourceName(dataSource))} has type ${show(dataSource.options.type)}, whose transactions cannot be kept ` +
      'apart; allowed: SQL databases with a connection pool, such as postgres, mysql, mariadb, and better-sqlite3.',
  );
}
