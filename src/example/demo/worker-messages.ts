/** From the pool to a worker. */
export interface CallMessage {
  readonly id: number;
  readonly command: string;
  readonly payload: unknown;
  /** On the clock of `monotonic.ts`: all workers of one race start at this moment. */
  readonly startAt?: number;
}

/** What is left of an error once it has crossed a process boundary. */
export interface WorkerError {
  readonly name: string;
  readonly message: string;
  readonly code?: unknown;
  readonly methodRan?: unknown;
  readonly committed?: unknown;
  readonly retryable?: unknown;
}

/** Something a worker did, at a moment of `monotonic.ts`. */
export interface WorkerEvent {
  readonly name: string;
  readonly at: number;
  readonly detail?: unknown;
}

/** From a worker to the pool. */
export type WorkerMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: WorkerError }
  | { readonly kind: 'event'; readonly event: WorkerEvent };
