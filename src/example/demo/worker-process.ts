import { type ChildProcess, fork } from 'node:child_process';
import type { CallMessage, WorkerError, WorkerEvent, WorkerMessage } from './worker-messages.js';

export interface WorkerOptions {
  /** Path of the JavaScript file that calls `serve` of `worker-port.ts`. */
  readonly script: string;
  /** For errors and timelines. */
  readonly name: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A command that failed in a worker; the fields of its error are copied onto it. */
export class WorkerCallError extends Error {
  readonly code: unknown;
  readonly methodRan: unknown;
  readonly committed: unknown;
  readonly retryable: unknown;

  constructor(
    readonly worker: string,
    error: WorkerError,
  ) {
    super(error.message);
    this.name = error.name;
    this.code = error.code;
    this.methodRan = error.methodRan;
    this.committed = error.committed;
    this.retryable = error.retryable;
  }
}

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

const STDERR_TAIL = 4_000;

/** One worker process, seen from outside. It ends when this process does. */
export class WorkerProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the worker has called `serve`; rejects if it ends before. */
  readonly ready: Promise<void>;
  /** Resolves with the exit code or the signal. */
  readonly exited: Promise<number | string>;
  readonly #child: ChildProcess;
  readonly #events: WorkerEvent[] = [];
  readonly #listeners = new Set<(event: WorkerEvent) => void>();
  readonly #calls = new Map<number, PendingCall>();
  #lastId = 0;
  #stderr = '';

  constructor({ script, name, env }: WorkerOptions) {
    this.name = name;
    this.#child = fork(script, [], {
      // Neither the flags nor the options of the parent: it may be a test runner.
      execArgv: ['--enable-source-maps'],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    this.pid = this.#child.pid ?? -1;
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_TAIL);
    });
    this.exited = new Promise((resolve) => {
      // Not 'close': Node does not emit it once this side has disconnected.
      this.#child.on('exit', (code, signal) => {
        const how = signal ?? code ?? -1;
        const { stderr } = this.#child;
        if (!stderr || stderr.closed) resolve(how);
        else stderr.once('close', () => resolve(how)); // its last words may still be on their way
      });
    });
    this.ready = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('message', (message: WorkerMessage) => {
        if (message.kind === 'ready') resolve();
        else this.#receive(message);
      });
      void this.exited.then((how) => this.#failCalls(how, reject));
    });
    this.ready.catch(() => undefined); // a worker may be killed by a caller that does not wait for it
  }

  /** What it has reported so far. */
  get events(): readonly WorkerEvent[] {
    return this.#events;
  }

  /** @returns a function that removes the listener again. */
  onEvent(listener: (event: WorkerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Has the worker run a command, at a given moment of `monotonic.ts` or at once.
   *
   * @throws {WorkerCallError} with the name, message and fields of the worker's error
   * @throws {Error} if the process ends before it has answered
   */
  call<T>(command: string, payload?: unknown, startAt?: number): Promise<T> {
    const id = ++this.#lastId;
    const message: CallMessage = {
      id,
      command,
      payload,
      ...(startAt === undefined ? {} : { startAt }),
    };
    return new Promise<T>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#child.send(message, (error) => {
        if (error) reject(new Error(`Worker ${this.name} cannot be reached.`, { cause: error }));
      });
    });
  }

  /** Lets the worker close its application; resolves when the process is gone. */
  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.exited;
  }

  /** SIGKILL: nothing in the worker gets a chance to run. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGSTOP: the process stands still, its connections stay open. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  /** SIGCONT. */
  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  #receive(message: Exclude<WorkerMessage, { kind: 'ready' }>): void {
    if (message.kind === 'event') {
      this.#events.push(message.event);
      for (const listener of this.#listeners) listener(message.event);
      return;
    }
    const call = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if (message.kind === 'done') call?.resolve(message.value);
    else call?.reject(new WorkerCallError(this.name, message.error));
  }

  #failCalls(how: number | string, failReady: (error: Error) => void): void {
    const error = new Error(`Worker ${this.name} ended with ${how}.\n${this.#stderr}`.trim());
    failReady(error);
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }
}
