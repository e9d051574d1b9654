import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** A change here is a change of the public API: it belongs in the CHANGELOG. */
const DOORS: Record<
  string,
  { readonly values: readonly string[]; readonly types: readonly string[] }
> = {
  '.': {
    values: [
      'CommitOutcomeUnknownError',
      'DistributedLock',
      'DistributedLockError',
      'DistributedLockModule',
      'DistributedLockService',
      'FenceTableMissingError',
      'FenceWaitTimeoutError',
      'FencingTokenRegressionError',
      'InjectDistributedLock',
      'LockClosedError',
      'LockConfigurationError',
      'LockInsideTransactionError',
      'LockKeyError',
      'LockLostError',
      'LockNotHeldError',
      'LockQueueFullError',
      'LockStoreUnavailableError',
      'LockUpgradeError',
      'LockWaitTimeoutError',
      'MaxHoldExceededError',
      'PostCommitHookError',
      'SerializationRetriesExhaustedError',
      'StaleFencingTokenError',
      'TransactionContextEndedError',
      'TransactionMisuseError',
      'TransactionRolledBackError',
      'TransactionStartError',
      'assertLocked',
      'currentHold',
      'getDistributedLockToken',
      'memoryStore',
    ],
    types: [
      'AcquireRequest',
      'Admission',
      'AsyncMethod',
      'CallOutcome',
      'Committed',
      'DistributedLockMethodOptions',
      'DistributedLockModuleOptions',
      'DistributedLockOptions',
      'DistributedLockOptionsFactory',
      'Duration',
      'Hold',
      'HoldBounds',
      'Holder',
      'IsolationLevel',
      'KeyFunction',
      'KeyOrKeys',
      'KeyState',
      'LeaderCallbacks',
      'LeaderOptions',
      'Leadership',
      'LockAdmission',
      'LockDescription',
      'LockEvent',
      'LockGrant',
      'LockKey',
      'LockListener',
      'LockMethodOptions',
      'LockMutex',
      'LockOptions',
      'LockScope',
      'LockState',
      'LockStore',
      'LockTimes',
      'LockTransactionOptions',
      'LockedMethodDecorator',
      'LockedTransaction',
      'LossReason',
      'Offer',
      'OnOpenTransaction',
      'OnTimeout',
      'OpenTransaction',
      'OuterEnd',
      'OuterTransaction',
      'ReleaseResult',
      'Renewal',
      'RetryOptions',
      'RollbackReason',
      'StoreTraits',
      'TimeoutContext',
      'TransactionHold',
      'TransactionOptions',
      'TransactionRunner',
    ],
  },
  './store': {
    values: ['now', 'queueingStore'],
    types: [
      'BackendListener',
      'Busy',
      'GiveBackAnswer',
      'Granted',
      'HeldTurn',
      'PassAnswer',
      'TakeRequest',
      'TokenBlock',
      'TurnBackend',
      'TurnBounds',
      'TurnRef',
      'TurnSession',
    ],
  },
  './redis': {
    values: ['redisStore'],
    types: ['RedisConnection', 'RedisStoreOptions'],
  },
  './zookeeper': {
    values: ['ZooKeeperError', 'zookeeperStore'],
    types: [
      'CreatedNode',
      'NodeKind',
      'NodeStat',
      'SessionEnd',
      'SessionListener',
      'WatchEvent',
      'WatchListener',
      'ZooKeeperAcl',
      'ZooKeeperAuth',
      'ZooKeeperSession',
      'ZooKeeperStoreOptions',
    ],
  },
  './postgres': {
    values: ['postgresStore'],
    types: ['PostgresConnection', 'PostgresStoreOptions'],
  },
  './mysql': {
    values: ['mysqlStore', 'mysqlTokenTableSql'],
    types: ['MysqlConnection', 'MysqlStoreOptions'],
  },
  './table': {
    values: ['lockTableEntity', 'lockTableSql', 'tableStore'],
    types: ['LockTableType', 'TableStoreOptions'],
  },
  './typeorm': {
    values: [
      'LockFenceMigration',
      'LockFenceMigration1735689600000',
      'afterCommit',
      'afterRollback',
      'fenceDdl',
      'lockFenceEntity',
      'lockedDataSource',
      'nestjsCls',
      'pruneFences',
      'typeormTransactional',
      'typeormTransactions',
    ],
    types: [
      'FenceAnswer',
      'FenceDatabase',
      'FenceDialect',
      'FenceEntry',
      'FenceFailure',
      'FenceKey',
      'FenceOptions',
      'LockFenceRow',
      'LostCommit',
      'Send',
      'TransactionCallback',
      'TransactionMode',
      'TypeOrmTransactionRunner',
      'TypeOrmTransactionsOptions',
      'Witness',
    ],
  },
  './redlock': { values: ['redlockStore'], types: ['RedisConnection', 'RedlockStoreOptions'] },
  './testing': {
    values: [
      'DistributedLockTestingModule',
      'FakeDistributedLockService',
      'contractOf',
      'raceTogether',
      'runContract',
      'storeWorld',
    ],
    types: [
      'Clause',
      'ContractOptions',
      'DescribeFunction',
      'FakeLockOptions',
      'Race',
      'RaceResult',
      'RecordedCall',
      'RecordedTransaction',
      'Simulation',
      'StoreWorld',
      'TestFunction',
      'TestingModuleOptions',
    ],
  },
};

const ROOT = new URL('../../', import.meta.url);

const manifest = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
  exports: Record<string, { readonly default: string }>;
};

/** The source behind a door, as package.json names it. */
function sourceOf(door: string): ts.SourceFile {
  const path = manifest.exports[door]!.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts');
  return ts.createSourceFile(
    path,
    readFileSync(new URL(path, ROOT), 'utf8'),
    ts.ScriptTarget.Latest,
  );
}

it('there is no other door', () => {
  expect(Object.keys(DOORS).toSorted()).toEqual(
    Object.keys(manifest.exports)
      .filter((door) => door !== './package.json')
      .toSorted(),
  );
});

describe.each(Object.keys(DOORS))('door %s', (door) => {
  it('exports these names, one by one', () => {
    const found = { values: [] as string[], types: [] as string[] };
    for (const statement of sourceOf(door).statements) {
      if (
        !ts.isExportDeclaration(statement) ||
        !statement.exportClause ||
        !ts.isNamedExports(statement.exportClause)
      ) {
        throw new Error('a door lists names, it does not make or re-export them wholesale');
      }
      for (const { name, isTypeOnly } of statement.exportClause.elements) {
        (statement.isTypeOnly || isTypeOnly ? found.types : found.values).push(name.text);
      }
    }
    expect({ values: found.values.toSorted(), types: found.types.toSorted() }).toEqual(DOORS[door]);
  });

  it('gives the same values when it is imported', async () => {
    const exported = (await import(`nestjs-distributed-lock${door.slice(1)}`)) as object;
    expect(Object.keys(exported).toSorted()).toEqual(DOORS[door]!.values);
  });
});
