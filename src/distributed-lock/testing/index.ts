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
