export { lockedDataSource } from './locked-data-source.js';
export type { TypeOrmTransactionsOptions } from './typeorm.options.js';
export { typeormTransactions } from './typeorm.transaction-runner.js';
export type { TypeOrmTransactionRunner } from './typeorm.transaction-runner.js';
