import { at, monotonicMs } from './monotonic.js';
import type { CallMessage, WorkerError, WorkerMessage } from './worker-messages.js';

/** What a worker process can be asked to do. */
export type Commands = Readonly<Record<string, (payload: never) => unknown>>;

/**
 * The worker's side of a {@link WorkerPool}: reports ready, then answers calls until the pool disconnects.
 *
 * The process ends with the pool, however that one ends: `close` is given 5 s.
 */
export function serve(
  commands: Commands,
  close: () => Promise<void> = async () => undefined,
): void {
  process.on('message', (message: CallMessage) => void answer(commands, message));
  process.on('disconnect', () => {
    setTimeout(() => process.exit(1), 5_000).unref();
    close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
  send({ kind: 'ready' });
}

/** Tells the pool that something happened now. */
export function report(name: string, detail?: unknown): void {
  send({ kind: 'event', event: { name, at: monotonicMs(), detail } });
}

async function answer(
  commands: Commands,
  { id, command, payload, startAt }: CallMessage,
): Promise<void> {
  try {
    const run = commands[command] as ((payload: unknown) => unknown) | undefined;
    if (!run) throw new Error(`This worker has no command "${command}".`);
    if (startAt !== undefined) await at(startAt);
    send({ kind: 'done', id, value: await run(payload) });
  } catch (error) {
    send({ kind: 'failed', id, error: describeError(error) });
  }
}

export function describeError(error: unknown): WorkerError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { code, methodRan, committed, retryable } = error as Error & Partial<WorkerError>;
  return { name: error.name, message: error.message, code, methodRan, committed, retryable };
}

function send(message: WorkerMessage): void {
  // A pool that is gone gets no answers; `disconnect` ends this process.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
