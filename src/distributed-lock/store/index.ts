export { now } from '../distributed-lock.clock.js';
export { queueingStore } from './queueing-store.js';
export type { TurnBounds } from './queueing.lock-store.js';
export type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TokenBlock,
  TurnBackend,
  TurnRef,
  TurnSession,
} from './turn-backend.js';
