import { AsyncLocalStorage } from 'node:async_hooks';
import type { TransactionRecord } from './transaction-record.js';

/** One link of what an async call chain knows about the transactions around it; the innermost comes first. */
interface Frame {
  readonly transaction: TransactionRecord | null;
  /** Whether repositories and root managers of this chain send their statements through that transaction. */
  readonly joined: boolean;
  readonly parent: Frame | undefined;
}

const frames = new AsyncLocalStorage<Frame>();

/**
 * Makes the *current* chain know the transaction: the caller of the caller too, if nothing was awaited in between.
 * That is how a transaction that a helper opens becomes visible to the function that called the helper.
 */
export function enterTransaction(transaction: TransactionRecord): void {
  frames.enterWith({ transaction, joined: false, parent: live(frames.getStore()) });
}

/** Runs `work` so that what it enters stays inside it: siblings of a `Promise.all` do not see each other's transactions. */
export function confined<T>(work: () => T): T {
  // A fresh object each time: Node 20 makes `run` with the store that is already there a plain call.
  return frames.run({ transaction: null, joined: false, parent: live(frames.getStore()) }, work);
}

/** Runs `work` knowing the transaction, but not joined to it: hooks of subscribers, which get its manager with the event. */
export function insideOf<T>(transaction: TransactionRecord, work: () => T): T {
  return frames.run({ transaction, joined: false, parent: live(frames.getStore()) }, work);
}

/** Runs `work` with every repository and root manager of the DataSource joined to the transaction. */
export function joinedTo<T>(transaction: TransactionRecord, work: () => T): T {
  return frames.run({ transaction, joined: true, parent: live(frames.getStore()) }, work);
}

/** Runs `work` as if no transaction were open around it. */
export function outsideTransactions<T>(work: () => T): T {
  return frames.run({ transaction: null, joined: false, parent: undefined }, work);
}

/** @returns the innermost transaction of this chain that fits. */
export function innermost(
  fits: (transaction: TransactionRecord) => boolean,
): TransactionRecord | undefined {
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.parent) {
    if (frame.transaction !== null && fits(frame.transaction)) return frame.transaction;
  }
  return undefined;
}

/** @returns the innermost transaction this chain is joined to, also one that has ended: its late statements are refused. */
export function innermostJoined(
  fits: (transaction: TransactionRecord) => boolean,
): TransactionRecord | undefined {
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.parent) {
    if (frame.joined && frame.transaction !== null && fits(frame.transaction))
      return frame.transaction;
  }
  return undefined;
}

/** Skips links that say nothing any more, so that a chain that opens many transactions does not grow. */
function live(frame: Frame | undefined): Frame | undefined {
  let current = frame;
  while (
    current !== undefined &&
    !current.joined &&
    (current.transaction === null || current.transaction.isOver)
  ) {
    current = current.parent;
  }
  return current;
}
