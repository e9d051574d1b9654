export {
  DistributedLockTestingModule,
  type TestingModuleOptions,
} from './distributed-lock-testing.module.js';
export {
  FakeDistributedLockService,
  type FakeLockOptions,
} from './fake-distributed-lock.service.js';
export { type Race, type RaceResult, raceTogether } from './race-together.js';
export type { RecordedCall, Simulation } from './simulated-locks.js';
export type { RecordedTransaction } from './simulated-transactions.js';
export type { Clause } from './contract/clause.js';
export { contractOf } from './contract/contract.js';
export {
  type ContractOptions,
  type DescribeFunction,
  runContract,
  type TestFunction,
} from './contract/run-contract.js';
export { type StoreWorld, storeWorld } from './contract/store-world.js';
