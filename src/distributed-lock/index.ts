export {
  type AsyncMethod,
  DistributedLock,
  type DistributedLockMethodOptions,
  type DistributedLockOptions,
  type KeyFunction,
  type LockedMethodDecorator,
} from './decorator/distributed-lock.decorator.js';
export type { LockAdmission } from './distributed-lock.admission.js';
export type { Duration } from './distributed-lock.duration.js';
export {
  type CallOutcome,
  type Committed,
  CommitOutcomeUnknownError,
  DistributedLockError,
  FenceTableMissingError,
  FenceWaitTimeoutError,
  FencingTokenRegressionError,
  LockClosedError,
  LockConfigurationError,
  LockInsideTransactionError,
  LockKeyError,
  LockLostError,
  LockNotHeldError,
  LockQueueFullError,
  LockStoreUnavailableError,
  LockUpgradeError,
  LockWaitTimeoutError,
  type LossReason,
  MaxHoldExceededError,
  PostCommitHookError,
  type RollbackReason,
  SerializationRetriesExhaustedError,
  StaleFencingTokenError,
  TransactionContextEndedError,
  TransactionMisuseError,
  TransactionRolledBackError,
  TransactionStartError,
} from './distributed-lock.errors.js';
export type { LockEvent, LockListener } from './distributed-lock.events.js';
export { DistributedLockModule } from './distributed-lock.module.js';
export type { DistributedLockOptionsFactory } from './distributed-lock.module-definition.js';
export type {
  DistributedLockModuleOptions,
  HoldBounds,
  LockMethodOptions,
  LockOptions,
  LockScope,
  LockTimes,
  OnTimeout,
  TimeoutContext,
} from './distributed-lock.options.js';
export type { LeaderCallbacks, Leadership } from './distributed-lock.leadership.js';
export type { LockMutex } from './distributed-lock.mutex.js';
export type { LockState } from './distributed-lock.operator.js';
export {
  DistributedLockService,
  type KeyOrKeys,
  type LeaderOptions,
  type LockedTransaction,
  type LockTransactionOptions,
} from './distributed-lock.service.js';
export { getDistributedLockToken, InjectDistributedLock } from './distributed-lock.tokens.js';
export type { LockKey } from './key/lock-key.js';
export { assertLocked, currentHold } from './lock/current-hold.js';
export type { Hold } from './lock/hold.js';
export type {
  AcquireRequest,
  Admission,
  Holder,
  KeyState,
  LockGrant,
  LockStore,
  Offer,
  ReleaseResult,
  Renewal,
  StoreTraits,
} from './store/lock-store.js';
export { memoryStore } from './store/memory/memory.lock-store.js';
export type {
  IsolationLevel,
  LockDescription,
  OnOpenTransaction,
  OpenTransaction,
  OuterEnd,
  OuterTransaction,
  RetryOptions,
  TransactionHold,
  TransactionOptions,
  TransactionRunner,
} from './transaction/transaction-runner.js';
