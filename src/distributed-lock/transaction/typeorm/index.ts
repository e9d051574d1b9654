export type {
  FenceAnswer,
  FenceDialect,
  FenceEntry,
  FenceFailure,
  FenceKey,
  LostCommit,
  Send,
  Witness,
} from './fence/fence-dialect.js';
export type { FenceDatabase } from './fence/fence-dialects.js';
export {
  fenceDdl,
  lockFenceEntity,
  LockFenceMigration1735689600000,
  LockFenceMigration1735689600000 as LockFenceMigration,
  type LockFenceRow,
} from './fence/fence-schema.js';
export { type FenceOptions, pruneFences } from './fence/fence-table.js';
export { lockedDataSource } from './locked-data-source.js';
export { afterCommit, afterRollback, type TransactionCallback } from './transaction-callbacks.js';
export { nestjsCls, type TransactionMode, typeormTransactional } from './transaction-mode.js';
export type { TypeOrmTransactionsOptions } from './typeorm.options.js';
export { typeormTransactions } from './typeorm.transaction-runner.js';
export type { TypeOrmTransactionRunner } from './typeorm.transaction-runner.js';
